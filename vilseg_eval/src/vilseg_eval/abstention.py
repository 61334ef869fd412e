"""A threshold below which a pixel is called background, chosen on images that are not scored.

Legend: k classes, l levels of confidence, t one of them: a pixel is kept if its level is t or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilseg_eval.counting import LEVELS
from vilseg_eval.image_counts import Ints
from vilseg_eval.protocols import ClassSets

CRITERION = "mIoU over all classes, background included"

_CURVE_STEP = 8

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Abstention:
    """A chosen threshold and where it comes from.

    `curve`: "threshold", "coverage", "risk" and "miou" of the calibration images, see
    `risk_coverage`.
    """

    threshold: float
    data: str
    split: str
    images: int
    list_hash: str
    curve: dict[str, list[float | None]]

    def as_json(self) -> dict[str, Any]:
        about = {"threshold": self.threshold, "data": self.data, "split": self.split}
        return about | {
            "images": self.images,
            "list_hash": self.list_hash,
            "criterion": CRITERION,
            "curve": self.curve,
        }


def choose_threshold(levels: Ints, support: Ints, *, sets: ClassSets) -> float:
    """The threshold with the best mIoU over all classes; the lowest of those that tie.

    Args:
        levels: (3, k, l), see `pooled_levels`.
        support: (k,) pixels of each class.
    """
    return int(np.argmax(miou_by_threshold(levels, support, sets=sets))) / LEVELS


def miou_by_threshold(levels: Ints, support: Ints, *, sets: ClassSets) -> Floats:
    """(l,): the mIoU over all classes, background included, if level t and up are kept."""
    if sets.background is None:
        raise ValueError(
            "background: a threshold needs a set with a background class, got one without; "
            "ignore background"
        )
    if not support.any():
        raise ValueError(
            "background: expected labelled pixels on the calibration split, got none; "
            "choose another split"
        )
    right, wrong, behind = _kept(levels)
    hits = right.copy()
    predicted = right + wrong + behind
    total = predicted[:, :1].sum(0) - predicted.sum(0)
    hits[sets.background] = behind[:, :1].sum(0) - behind.sum(0)
    predicted[sets.background] = total
    union = support[:, None] + predicted - hits
    iou = np.divide(hits, union, out=np.zeros(union.shape), where=union > 0)
    return np.asarray(iou.sum(0) / (union > 0).sum(0), dtype=np.float64)


def risk_coverage(levels: Ints) -> dict[str, list[float | None]]:
    """ "threshold", "coverage" (the share of foreground pixels kept) and "risk" (the share of wrong
    labels among these), for every eighth level."""
    right, wrong, _ = (part.sum(0) for part in _kept(levels))
    kept = right + wrong
    steps = range(0, LEVELS, _CURVE_STEP)
    return {
        "threshold": [t / LEVELS for t in steps],
        "coverage": _shares(kept, np.full_like(kept, kept[0]), steps),
        "risk": _shares(wrong, kept, steps),
    }


def calibration_curve(
    levels: Ints, support: Ints, *, sets: ClassSets
) -> dict[str, list[float | None]]:
    """`risk_coverage` with "miou" beside."""
    miou = miou_by_threshold(levels, support, sets=sets)
    return risk_coverage(levels) | {"miou": [float(x) for x in miou[::_CURVE_STEP]]}


def _kept(levels: Ints) -> Ints:
    """(3, k, l): the pixels of level t and up."""
    return np.cumsum(levels[:, :, ::-1], axis=2)[:, :, ::-1]


def _shares(part: Ints, whole: Ints, steps: Sequence[int]) -> list[float | None]:
    return [part[t].item() / whole[t].item() if whole[t] else None for t in steps]
