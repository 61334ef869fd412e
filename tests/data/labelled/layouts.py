"""Labelled sets of tiny files in the layouts they are distributed in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.data.sources import photo

Masks = Mapping[str, np.ndarray]


def mask_of(*ids: int, shape: tuple[int, int] = (6, 9)) -> np.ndarray:
    return np.resize(np.array(ids), shape)


def ids_in(labels: Any) -> list[int]:
    """The ids in a tensor or an array, sorted."""
    return sorted(set(labels.flatten().tolist()))


def write_photos(folder: Path, masks: Masks) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        data = photo(90, size=(mask.shape[1], mask.shape[0]), kind="JPEG")
        (folder / f"{name}.jpg").write_bytes(data)
    return folder


def write_pngs(folder: Path, masks: Masks, *, palette: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        picture = Image.fromarray(mask.astype(np.uint8))
        if palette:
            picture.putpalette([(k * 37) % 256 for k in range(768)])
        picture.save(folder / f"{name}.png")
    return folder


def write_mats(folder: Path, masks: Masks, *, variable: str, dtype: Any = np.uint16) -> Path:
    savemat = pytest.importorskip("scipy.io").savemat
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        # As in the published files, the map is not the only variable.
        content = {variable: mask.astype(dtype), "names": np.array(["a", "b"], dtype=object)}
        savemat(folder / f"{name}.mat", content, do_compression=True)
    return folder


def write_list(folder: Path, split: str, names: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return folder


def runs(mask: np.ndarray) -> list[int]:
    """Run lengths of 0 and 1 in turn, 0 first, down the columns: a slow loop."""
    found, value = [0], 0
    for pixel in mask.T.ravel().astype(int).tolist():
        if pixel != value:
            found.append(0)
            value = pixel
        found[-1] += 1
    return found


def packed(counts: list[int]) -> str:
    """The text of run lengths, by its rules: differences, groups of 5 bits, a sign bit."""
    text = ""
    for k, count in enumerate(counts):
        number = count - counts[k - 2] if k > 2 else count
        while True:
            group, number = number & 31, number >> 5
            done = number == (-1 if group & 16 else 0)
            text += chr(48 + group + (0 if done else 32))
            if done:
                break
    return text


def write_detail(path: Path, masks: Masks, *, phase: str = "val", text: bool = True) -> Path:
    """The Detail API's JSON: a region for each value but 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    regions: list[dict[str, Any]] = []
    for number, (name, mask) in enumerate(masks.items()):
        height, width = mask.shape
        images.append(
            {
                "image_id": number,
                "file_name": f"{name}.jpg",
                "phase": phase,
                "height": height,
                "width": width,
            }
        )
        for value in sorted(set(mask.ravel().tolist()) - {0}):
            counts = runs(mask == value)
            regions.append(
                {
                    "id": len(regions),
                    "image_id": number,
                    "category_id": value,
                    "segmentation": {
                        "size": [height, width],
                        "counts": packed(counts) if text else counts,
                    },
                }
            )
    path.write_text(json.dumps({"info": {}, "images": images, "annos_segmentation": regions}))
    return path
