"""The files that benchmarks.data decodes: drawn from the built-in world, or given; and packed."""

import io
import json
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.data_schema import ImagesUsed
from vilseg_data import WorldCaptions

QUALITY = 90
_JPEG = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Images:
    """JPEG files, and what a result says of them."""

    files: tuple[bytes, ...]
    used: ImagesUsed


def draw(count: int, *, width: int, height: int, seed: int) -> Images:
    """`count` scenes of the built-in world, cut to height x width and written at quality 90."""
    world = WorldCaptions(count=count, image_size=max(width, height), seed=seed)
    files = []
    for index in range(count):
        pixels = world[index].image[:, :height, :width].permute(1, 2, 0).contiguous()
        buffer = io.BytesIO()
        Image.fromarray(pixels.numpy()).save(buffer, "JPEG", quality=QUALITY)
        files.append(buffer.getvalue())
    return Images(tuple(files), _describe(files, given=False))


def read(path: Path, *, count: int) -> Images:
    """The first `count` JPEGs by name of a folder, with what lies below it, or of a zip.

    Raises:
        ValueError: no folder and no zip, no JPEG in it, or one that Pillow cannot open.
    """
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in _JPEG)
        files = [file.read_bytes() for file in found[:count]]
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = sorted(n for n in archive.namelist() if n.lower().endswith(_JPEG))
            files = [archive.read(name) for name in names[:count]]
    else:
        raise ValueError(f"images: expected a folder or a zip, came {path}; name one with JPEGs")
    if not files:
        raise ValueError(f"images: expected at least one .jpg in {path}, came none; name another")
    try:
        return Images(tuple(files), _describe(files, given=True))
    except OSError as error:
        raise ValueError(
            f"images: expected readable JPEGs in {path}, came one that is not: {error}; "
            "remove it or name others"
        ) from error


def cycle(files: Sequence[bytes], count: int) -> list[bytes]:
    """`count` files: all of them over and over, or the first ones."""
    return [files[index % len(files)] for index in range(count)]


def write_archive(folder: Path, files: Sequence[bytes]) -> None:
    """The layout of `ArchiveCaptions`: train.zip and train.captions.json."""
    names = [f"{index:06d}.jpg" for index in range(len(files))]
    with zipfile.ZipFile(folder / "train.zip", "w", zipfile.ZIP_STORED) as archive:
        for name, data in zip(names, files, strict=True):
            archive.writestr(name, data)
    spoken = {name: ["a picture"] for name in names}
    (folder / "train.captions.json").write_text(json.dumps(spoken), encoding="utf-8")


def write_shards(folder: Path, files: Sequence[bytes], *, shards: int = 4) -> list[str]:
    """Tar files in img2dataset's layout, <key>.jpg with <key>.txt; their paths."""
    paths = []
    for number in range(shards):
        path = folder / f"{number:05d}.tar"
        with tarfile.open(path, "w") as tar:
            for index in range(number, len(files), shards):
                for kind, data in (("jpg", files[index]), ("txt", b"a picture")):
                    member = tarfile.TarInfo(f"{index:06d}.{kind}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        paths.append(str(path))
    return paths


def _describe(files: Sequence[bytes], *, given: bool) -> ImagesUsed:
    sizes = []
    for data in files:
        with Image.open(io.BytesIO(data)) as image:
            sizes.append(image.size)
    return ImagesUsed(
        source="given" if given else "world",
        count=len(files),
        mean_width=sum(width for width, _ in sizes) / len(sizes),
        mean_height=sum(height for _, height in sizes) / len(sizes),
        mean_bytes=sum(map(len, files)) / len(files),
        quality=None if given else QUALITY,
    )
