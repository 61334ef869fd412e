"""The scores again, one pixel and one class at a time, straight from the formulas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.int64]
Pairs = Sequence[tuple[Map, Map]]


def pixels(pairs: Pairs) -> Iterable[tuple[int, int]]:
    """(ground truth, prediction) of every pixel of every image."""
    for truth, guess in pairs:
        yield from zip(truth.ravel().tolist(), guess.ravel().tolist(), strict=True)


def intersect_and_union(pairs: Pairs, *, classes: Sequence[int], ignore: set[int]) -> list[float]:
    """mmseg's IoU of each class: areas of the two maps on pixels that are not ignored."""
    out = []
    for c in classes:
        both = predicted = labelled = 0
        for g, p in pixels(pairs):
            if g in ignore:
                continue
            both += g == c and p == c
            predicted += p == c
            labelled += g == c
        union = predicted + labelled - both
        out.append(both / union if union else nan)
    return out


def recalls(pairs: Pairs, *, classes: Sequence[int]) -> list[float]:
    """The share of a class's pixels that got its name; nan for a class without pixels."""
    out = []
    for c in classes:
        of_class = [p for g, p in pixels(pairs) if g == c]
        out.append(sum(p == c for p in of_class) / len(of_class) if of_class else nan)
    return out


def pooled_recall(pairs: Pairs, *, classes: Sequence[int]) -> float:
    """SPNet's "overall accuracy" of a set of classes: their right pixels by their pixels."""
    of_classes = [(g, p) for g, p in pixels(pairs) if g in classes]
    return sum(g == p for g, p in of_classes) / len(of_classes) if of_classes else nan


def nanmean(values: Iterable[float]) -> float:
    defined = [value for value in values if not isnan(value)]
    return sum(defined) / len(defined) if defined else nan
