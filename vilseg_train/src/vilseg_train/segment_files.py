"""What `vilseg segment` leaves of an image: pictures, and a JSON that says why."""

import json
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vilseg_eval import ViLSegSegmenter
from vilseg_eval.files import write_atomically
from vilseg_eval.report import colours, overlay
from vilseg_eval.report.pictures import shares
from vilseg_eval.segmenters.regions import Regions

_TOP_WORDS = 5


class Segmented(NamedTuple):
    """One image, uint8 (3, h, w), and how `segmenter` cut it."""

    source: Path
    image: Tensor
    regions: Regions
    segmenter: ViLSegSegmenter


def write_segmented(target: Path, done: Segmented) -> dict[str, float]:
    """Write the files of one image, all or none; returns the share of each word, largest first.

    `<target>-overlay.png` has a legend, the pixels of `<target>-labels.png` are the numbers of the
    words and those of `<target>-regions.png` the numbers of the regions. `<target>.json` holds
    `areas`, the share of the image of each word; `scores`, for each word the cosine of the region
    that is most like it; `regions`, largest first, each with its share, its box (left, top, right,
    bottom in pixels) and its `top` words with their cosines: the first is its name. Where tokens
    are shared among regions (`InferenceConfig.softness`) a pixel's word need not be its region's.
    """
    words = done.segmenter.words
    scores = done.segmenter.bank.scores(done.regions.features)
    labels = done.regions.answer(scores).labels(range(len(words))).cpu()
    scores = scores.cpu()
    areas = dict(zip(words, shares(labels, words=len(words)), strict=True))
    ordered = dict(sorted(areas.items(), key=lambda item: -item[1]))
    about = {
        "image": str(done.source),
        "width": done.image.shape[2],
        "height": done.image.shape[1],
        "words": list(words),
        "templates": list(done.segmenter.templates),
        "inference": done.segmenter.settings,
        "areas": ordered,
        "scores": {
            word: round(score, 6)
            for word, score in zip(words, scores.amax(0).tolist(), strict=True)
        },
        "regions": _regions(done.regions, scores, words=words),
    }
    contents = {
        "-overlay.png": _png(overlay(done.image, labels, words)),
        "-labels.png": _png(_indexed(labels, count=len(words))),
        "-regions.png": _png(_indexed(done.regions.map.cpu(), count=len(scores))),
        ".json": (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode(),
    }
    write_atomically({target.with_name(target.name + end): c for end, c in contents.items()})
    return ordered


def file_names(images: Iterable[Path]) -> list[str]:
    """A file name for each image: its own, numbered where two have the same."""
    names: dict[str, None] = {}
    for path in images:
        name, number = path.stem, 1
        while name in names:
            number += 1
            name = f"{path.stem}-{number}"
        names[name] = None
    return list(names)


def _regions(regions: Regions, scores: Tensor, *, words: Sequence[str]) -> list[dict[str, Any]]:
    numbers = regions.map.cpu()
    counts = torch.bincount(numbers.flatten(), minlength=len(scores))
    found = []
    for row in counts.argsort(descending=True, stable=True).tolist():
        best = scores[row].argsort(descending=True, stable=True)[:_TOP_WORDS].tolist()
        rows, columns = ((numbers == row).any(axis).nonzero().flatten() for axis in (1, 0))
        found.append(
            {
                "region": row,
                "cluster": int(regions.clusters[row]),
                "area": int(counts[row]) / numbers.numel(),
                "box": [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1],
                "word": words[best[0]],
                "top": [{"word": words[i], "score": round(float(scores[row, i]), 6)} for i in best],
            }
        )
    return found


def _indexed(numbers: Tensor, *, count: int) -> Image.Image:
    picture = Image.fromarray(numbers.numpy().astype(np.uint8 if count <= 256 else np.uint16))
    if count <= 256:
        picture.putpalette(colours(count).tobytes())
    return picture


def _png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
