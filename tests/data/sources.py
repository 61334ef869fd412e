"""Small files and sources the data tests share."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vilseg_data import Broken, BrokenSampleError, CaptionSample


def photo(value: int, *, size: tuple[int, int] = (12, 10), kind: str = "PNG") -> bytes:
    """An image file of one grey value."""
    file = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(file, kind)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that claims 30,000 x 30,000 pixels."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


def write_archive(
    folder: Path,
    *,
    zips: Sequence[Mapping[str, bytes]],
    captions: object,
    split: str = "train",
) -> Path:
    """`<split>-NN.zip` of the given members, and the captions file beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, members in enumerate(zips):
        with zipfile.ZipFile(folder / f"{split}-{number:02d}.zip", "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    (folder / f"{split}.captions.json").write_text(json.dumps(captions), encoding="utf-8")
    return folder


def write_voc(
    folder: Path, masks: Mapping[str, np.ndarray], *, split: str = "val", nested: bool = True
) -> Path:
    """A set in the VOC layout with palette masks and photos of their size."""
    lists = folder / "ImageSets" / "Segmentation" if nested else folder / "ImageSets"
    for part in (folder / "JPEGImages", folder / "SegmentationClass", lists):
        part.mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        height, width = mask.shape
        data = photo(90, size=(width, height), kind="JPEG")
        (folder / "JPEGImages" / f"{name}.jpg").write_bytes(data)
        picture = Image.fromarray(mask.astype(np.uint8)).convert("P")
        picture.putdata(mask.astype(int).ravel().tolist())
        picture.putpalette([(k * 37) % 256 for k in range(768)])
        picture.save(folder / "SegmentationClass" / f"{name}.png")
    (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in masks), encoding="utf-8")
    return folder


class ListSource:
    """`count` images of size x size whose every value is their position; some are broken."""

    def __init__(
        self,
        count: int,
        *,
        unreadable: Sequence[int] = (),
        missing: int = 0,
        captions: int = 3,
        size: int = 8,
    ) -> None:
        self.name = "list"
        self.broken = [Broken(f"gone-{k}", "no such file") for k in range(missing)]
        self.decoded: list[int] = []
        self._count, self._unreadable = count, frozenset(unreadable)
        self._spoken, self._size = captions, size

    def __len__(self) -> int:
        return self._count

    def captions(self, index: int) -> tuple[str, ...]:
        return tuple(f"{index} {k}" for k in range(self._spoken))

    def __getitem__(self, index: int) -> CaptionSample:
        self.decoded.append(index)
        if index in self._unreadable:
            raise BrokenSampleError(f"image-{index}", "cut short")
        image = torch.full((3, self._size, self._size), index % 256, dtype=torch.uint8)
        return CaptionSample(f"image-{index}", image, self.captions(index))


def tokens(captions: Sequence[str]) -> Tensor:
    """The numbers in a caption of `ListSource`: (n, 2), image and which caption."""
    return torch.tensor([[int(word) for word in caption.split()] for caption in captions])
