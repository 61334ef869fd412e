"""Scores of single images: to find those worth a look, never to average over.

The mIoU of an image is over the foreground classes in its own ground truth or prediction; the score
of a data set comes from the sums over its images instead.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import numpy as np

from vilseg_eval.image_counts import ImageCounts
from vilseg_eval.protocols import ClassSets

SHOWN = 8

_FIELDS = ("key", "pixels", "accuracy", "miou")


def score_images(
    images: ImageCounts, *, keys: Sequence[str], sets: ClassSets
) -> list[dict[str, Any]]:
    """`{"key", "pixels", "accuracy", "miou"}` of each image, background ignored.

    "pixels" are labelled foreground pixels, "accuracy" the share of them that got their class;
    both scores are None where there are none.
    """
    foreground = list(sets.foreground)
    margins = images.marginals(foreground)
    hits, support, predicted = (
        part[:, foreground] for part in (margins.hits, margins.support, margins.predicted)
    )
    union = support + predicted - hits
    iou = np.divide(hits, union, out=np.zeros(union.shape), where=union > 0)
    pixels, right, present = support.sum(1), hits.sum(1), (union > 0).sum(1)
    return [
        {
            "key": key,
            "pixels": int(pixels[i]),
            "accuracy": int(right[i]) / int(pixels[i]) if pixels[i] else None,
            "miou": float(iou[i].sum()) / int(present[i]) if pixels[i] else None,
        }
        for i, key in enumerate(keys)
    ]


def example_keys(scored: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The images of the highest, the middle and the lowest mIoU, at most eight each, the best
    first."""
    defined = [image for image in scored if image["miou"] is not None]
    order = sorted(defined, key=lambda image: -float(image["miou"]))
    ranked = [str(image["key"]) for image in order]
    middle = max(0, (len(ranked) - SHOWN) // 2)
    return {
        "best": ranked[:SHOWN],
        "median": ranked[middle : middle + SHOWN],
        "worst": ranked[::-1][:SHOWN],
    }


def image_table(scored: Sequence[Mapping[str, Any]]) -> str:
    """The scores as CSV with a heading; an undefined score is empty."""
    file = StringIO()
    writer = csv.DictWriter(file, _FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(scored)
    return file.getvalue()
