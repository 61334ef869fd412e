"""The evaluators of published code, as loops over pixels straight from their formulas.

H[g, p] counts pixels; u are the unseen classes. A map holds class ids, 255 is ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan

from tests.eval.oracles import Pairs, nanmean, pixels


def histogram(pairs: Pairs, *, classes: int) -> list[list[int]]:
    """Of all pixels whose ground truth is a class; SPNet's `_fast_hist`."""
    counts = [[0] * classes for _ in range(classes)]
    for g, p in pixels(pairs):
        if 0 <= g < classes and 0 <= p < classes:
            counts[g][p] += 1
    return counts


def ious(counts: Sequence[Sequence[int]]) -> list[float]:
    out = []
    for c in range(len(counts)):
        column = sum(row[c] for row in counts)
        union = sum(counts[c]) + column - counts[c][c]
        out.append(counts[c][c] / union if union else nan)
    return out


def accuracies(counts: Sequence[Sequence[int]]) -> list[float]:
    return [row[c] / sum(row) if sum(row) else nan for c, row in enumerate(counts)]


def spnet_gzsl(
    pairs: Pairs, *, classes: int, seen: Sequence[int], unseen: Sequence[int]
) -> dict[str, float]:
    """SPNet's and CaGNet's `scores_gzsl`: pooled accuracy, mean accuracy and mean IoU of the seen
    and of the unseen classes, and the harmonic means of both."""
    counts = histogram(pairs, classes=classes)
    found = {}
    for name, group in (("seen", seen), ("unseen", unseen)):
        right = sum(counts[c][c] for c in group)
        total = sum(sum(counts[c]) for c in group)
        found[f"overall {name}"] = right / total if total else nan
        found[f"mean {name}"] = nanmean([accuracies(counts)[c] for c in group])
        found[f"iou {name}"] = nanmean([ious(counts)[c] for c in group])
    for what in ("overall", "mean", "iou"):
        found[f"{what} harmonic"] = harmonic(found[f"{what} seen"], found[f"{what} unseen"])
    return found


def zs3(
    pairs: Pairs, *, classes: int, seen: Sequence[int], unseen: Sequence[int]
) -> dict[str, float]:
    """ZS3's evaluator: background is a class, and what is undefined counts 0."""
    counts = histogram(pairs, classes=classes)
    iou = [0.0 if isnan(value) else value for value in ious(counts)]
    accuracy = [0.0 if isnan(value) else value for value in accuracies(counts)]
    found = {}
    for name, group in (("seen", seen), ("unseen", unseen), ("all", range(classes))):
        found[f"iou {name}"] = sum(iou[c] for c in group) / len(group)
        found[f"mean {name}"] = sum(accuracy[c] for c in group) / len(group)
        total = sum(sum(counts[c]) for c in group)
        found[f"overall {name}"] = sum(counts[c][c] for c in group) / total if total else nan
    found["iou harmonic"] = harmonic(found["iou seen"], found["iou unseen"])
    return found


def harmonic(a: float, b: float) -> float:
    if isnan(a) or isnan(b):
        return nan
    return 2 * a * b / (a + b) if a + b else 0.0
