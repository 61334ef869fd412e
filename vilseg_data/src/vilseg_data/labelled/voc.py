"""PASCAL VOC 2012 segmentation, and any set in its layout, as distributed.

`JPEGImages/<id>.jpg`, `SegmentationClass/<id>.png` (palette images: 0 background, 1-20 classes,
255 void) and `ImageSets/Segmentation/<split>.txt` or `ImageSets/<split>.txt`.
"""

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vilseg_data.captions.sample import BrokenSampleError
from vilseg_data.decode import decode_image
from vilseg_data.labelled.classes import IGNORE, ClassList, LabelledSample

_NESTED = (".", "VOCdevkit/VOC2012", "VOC2012")
_FACTS: dict[str, Any] = json.loads(
    files("vilseg_data.labelled").joinpath("voc.json").read_text(encoding="utf-8")
)
VOC_CLASSES = ClassList(
    names=tuple(_FACTS["names"]),
    prompts=tuple(_FACTS["prompts"]),
    unseen=tuple(_FACTS["unseen"]),
    background=_FACTS["background"],
    palette=np.array(_FACTS["palette"], dtype=np.uint8),
)


def _find_root(root: Path) -> Path:
    for nested in _NESTED:
        folder = root / nested
        if (folder / "JPEGImages").is_dir() and (folder / "SegmentationClass").is_dir():
            return folder
    raise ValueError(
        "root must hold JPEGImages and SegmentationClass (or VOCdevkit/VOC2012 with them), got "
        f"{root}, which {'does not' if root.is_dir() else 'is no folder'}; give the unpacked set"
    )


def _read_split(folder: Path, split: str) -> tuple[list[str], bool]:
    """The ids of a split, and whether its list stands where the devkit has it."""
    places = (folder / "ImageSets" / "Segmentation", folder / "ImageSets")
    for official, place in zip((True, False), places, strict=True):
        path = place / f"{split}.txt"
        if path.is_file():
            ids = path.read_text(encoding="utf-8-sig", errors="replace").split()
            if not ids:
                raise ValueError(f"split must list at least one id, got {path}, which is empty")
            if len(set(ids)) != len(ids):
                raise ValueError(f"{path} must list every id once, got {len(ids)} with repeats")
            return ids, official
    found = sorted({path.stem for place in places for path in place.glob("*.txt")})
    raise ValueError(f"split must be one of {found} of {folder}, got {split!r}")


def _check_files(folder: Path, ids: list[str], split: str) -> None:
    missing = [
        f"{part}/{name}{suffix}"
        for name in ids
        for part, suffix in (("JPEGImages", ".jpg"), ("SegmentationClass", ".png"))
        if not (folder / part / f"{name}{suffix}").is_file()
    ]
    if missing:
        shown = ", ".join(missing[:5])
        raise ValueError(
            f"{folder} must hold an image and a mask for each of the {len(ids)} ids of {split}, "
            f"got {len(missing)} missing: {shown}{', ...' if len(missing) > 5 else ''}; "
            "add the files or choose another split"
        )


def read_mask(path: Path, *, classes: int) -> Tensor:
    """The ids in a mask, int64 (h, w), each in 0..classes - 1 or 255.

    Palette images are read as indices, 8-bit grey ones as they are. Anything else, and any other
    id, raises `BrokenSampleError` that names the file.
    """
    # As in decoding photos: Pillow raises errors of many kinds on damaged files.
    try:
        with Image.open(path) as image:
            mode = image.mode
            values = np.array(image) if mode in ("P", "L") else None
    except Exception as error:
        raise BrokenSampleError(str(path), f"unreadable mask: {error}") from error
    if values is None:
        raise BrokenSampleError(
            str(path),
            f"mode {mode}, expected palette indices (mode P, or L with ids): a mask converted to "
            "colours has lost its ids, use the PNG as distributed",
        )
    present = np.unique(values)
    wrong = [int(k) for k in present if k >= classes and k != IGNORE]
    if wrong:
        raise BrokenSampleError(
            str(path),
            f"ids {wrong[:5]}, expected 0..{classes - 1} or {IGNORE}: not a mask of this class "
            "list, or grey levels in place of ids",
        )
    return torch.from_numpy(values).long()


class VocSegmentation:
    """Photos with masks in the VOC layout: 21 classes, background 0, 255 ignored.

    `root` holds the layout, or VOCdevkit/VOC2012 with it. A missing split, image or mask is
    refused at once; an unreadable one when it is asked for, as `BrokenSampleError`. `notes` says
    where an official list is not what the devkit has (scores on it are not benchmark scores).
    """

    def __init__(self, root: str | Path, *, split: str = "val", count: int | None = None) -> None:
        folder = _find_root(Path(root))
        ids, official = _read_split(folder, split)
        _check_files(folder, ids, split)
        self.name = "voc"
        self.classes = VOC_CLASSES
        self.split = split
        self.notes: tuple[str, ...] = _compare(ids, split) if official else ()
        if count is not None and count < 1:
            raise ValueError(f"count must be at least 1, got {count}; leave it out for all")
        self._folder = folder
        self._ids = ids if count is None else ids[:count]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> LabelledSample:
        key = self._ids[index]
        photo = self._folder / "JPEGImages" / f"{key}.jpg"
        mask = self._folder / "SegmentationClass" / f"{key}.png"
        image, labels = decode_image(photo), read_mask(mask, classes=len(self.classes))
        if image.shape[1:] != labels.shape:
            raise BrokenSampleError(
                str(mask),
                f"{labels.shape[1]} x {labels.shape[0]} pixels, its image has {image.shape[2]} x "
                f"{image.shape[1]}: use the mask of the same image at the same size",
            )
        return LabelledSample(key, image, labels)


def _compare(ids: list[str], split: str) -> tuple[str, ...]:
    known = _FACTS["splits"].get(split)
    if known is None:
        return ()
    digest = hashlib.sha256("".join(f"{name}\n" for name in sorted(ids)).encode()).hexdigest()
    if digest == known["sha256"]:
        return ()
    return (
        f"{split} lists {len(ids)} ids and is not the official list of {known['count']}: "
        "scores on it are not comparable with published ones",
    )
