"""Pictures with structure, and folders and tars of them."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch.nn.functional import interpolate

from vilseg_data.survey import Finding, Record, Records


def picture(seed: int, *, side: int = 48, kind: str = "PNG", quality: int = 90) -> bytes:
    """A file of soft random blobs: another seed is another picture."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((1, 3, 6, 6), generator=generator)
    fine = interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)
    pixels = (fine[0] * 255).round().byte().permute(1, 2, 0).numpy()
    options = {"quality": quality} if kind == "JPEG" else {}
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def write_folder(folder: Path, count: int = 3) -> Path:
    """Pictures 0.png, 1.png, ... each with a caption of its own beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.png").write_bytes(picture(number))
        (folder / f"{number}.txt").write_text(f"blobs of number {number}", encoding="utf-8")
    return folder


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """A tar of the given members, in order."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def read_all(records: Records) -> tuple[dict[str, tuple[bytes, tuple[str, ...]]], list[Finding]]:
    """The bytes and captions by key, and the findings."""
    sound, findings = {}, []
    for item in records:
        if isinstance(item, Record):
            assert item.key not in sound
            sound[item.key] = (item.read(), item.captions)
        else:
            findings.append(item)
    return sound, findings
