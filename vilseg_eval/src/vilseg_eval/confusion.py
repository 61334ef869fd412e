"""One integer matrix of a whole data set; every score is read from it later.

Legend: k classes, (h, w) a label map, g ground truth, p prediction.
"""

from __future__ import annotations

import torch
from torch import Tensor

OUTSIDE = -1
"""The prediction of a pixel that got none of the classes asked for."""

IGNORE = 255
"""The ground truth of a pixel that nobody scores."""


_PIXELS_AT_ONCE = 2**22


class LabelError(ValueError):
    """A predicted label map that cannot be scored."""


class ConfusionMatrix:
    """Pixels counted by ground truth (rows) and prediction (columns) over a whole data set.

    `counts` is (k, k + 1) int64 on the CPU; the last column holds the pixels predicted `OUTSIDE`
    the candidates: misses of their row and nobody's false positive.

    Args:
        num_classes: k, at least 1.
        ignore: the ground-truth value that never counts (255 in VOC, Context and COCO-Stuff).
    """

    def __init__(self, num_classes: int, *, ignore: int = IGNORE) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes: expected at least 1, got {num_classes}")
        if 0 <= ignore < num_classes:
            raise ValueError(
                f"ignore: {ignore} is also one of the {num_classes} class ids; "
                "choose a value outside them, for instance -1"
            )
        self.num_classes = num_classes
        self.ignore = ignore
        self.counts = torch.zeros(num_classes, num_classes + 1, dtype=torch.int64)

    @classmethod
    def from_counts(cls, counts: Tensor, *, ignore: int = IGNORE) -> ConfusionMatrix:
        """The matrix of saved counts: (k, k + 1), integers, none negative."""
        if counts.ndim != 2 or counts.shape[1] != counts.shape[0] + 1:
            raise ValueError(f"counts: expected (k, k + 1), got {tuple(counts.shape)}")
        if counts.is_floating_point() or (counts < 0).any():
            raise ValueError("counts: expected integers, none negative")
        matrix = cls(counts.shape[0], ignore=ignore)
        matrix.counts = counts.to("cpu", torch.int64, copy=True)
        return matrix

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count the pixels of one or more label maps of equal shape and of any integer type.

        What is predicted where the ground truth is `ignore` is not looked at.

        Raises:
            LabelError: the prediction has another shape, is not of integers, or holds a value that
                is neither a class id nor `OUTSIDE`.
            ValueError: the ground truth is not of integers, or holds a value that is no class id.
        """
        k = self.num_classes
        self.counts += count_pairs(
            prediction, target, classes=k, labels=k, ignore=self.ignore, what="class ids"
        )

    def merge(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """A new matrix of both sets of pixels, as one matrix updated with both would be."""
        if (self.num_classes, self.ignore) != (other.num_classes, other.ignore):
            raise ValueError(
                f"other: expected {self.num_classes} classes and ignore={self.ignore}, "
                f"got {other.num_classes} and ignore={other.ignore}"
            )
        return ConfusionMatrix.from_counts(self.counts + other.counts, ignore=self.ignore)

    def iou(self) -> Tensor:
        """(k,) float64: H_cc / (row + column - H_cc); nan for a class in neither map."""
        hits = self.counts.diagonal()
        union = self.counts.sum(1) + self.counts[:, : self.num_classes].sum(0) - hits
        return hits.double() / union.double()

    def recall(self) -> Tensor:
        """(k,) float64: H_cc / row; nan for a class that the ground truth does not hold."""
        return self.counts.diagonal().double() / self.counts.sum(1).double()

    def __repr__(self) -> str:
        return f"ConfusionMatrix({self.num_classes}, pixels={int(self.counts.sum())})"


def count_pairs(
    prediction: Tensor,
    target: Tensor,
    *,
    classes: int,
    labels: int,
    ignore: int = IGNORE,
    what: str = "labels",
) -> Tensor:
    """(classes, labels + 1) int64 on the CPU: pixels by ground-truth class and predicted label.

    The last column holds the pixels predicted `OUTSIDE`. Memory beyond the maps is constant.

    Args:
        prediction: any shape and integer type, 0 to labels - 1 or `OUTSIDE`; what it holds where
            the ground truth is `ignore` is not looked at.
        target: the same shape, 0 to classes - 1 or `ignore`.
        what: what the labels are called in messages.

    Raises:
        LabelError, ValueError: as in `ConfusionMatrix.update`.
    """
    if prediction.shape != target.shape:
        raise LabelError(
            f"prediction, target: expected equal shapes, got {tuple(prediction.shape)} and "
            f"{tuple(target.shape)}; bring the prediction to the size of the ground truth"
        )
    if prediction.is_floating_point():
        raise LabelError(f"prediction: expected integer {what}, got {prediction.dtype}")
    if target.is_floating_point():
        raise ValueError(f"target: expected integer class ids, got {target.dtype}")
    # A row for every value the ground truth may hold, `ignore` included: no pixel is picked out.
    rows = max(classes, ignore + 1) + (ignore < 0)
    total = torch.zeros(rows * (labels + 1), dtype=torch.int64)
    guesses = torch.split(prediction.reshape(-1), _PIXELS_AT_ONCE)
    truths = torch.split(target.reshape(-1), _PIXELS_AT_ONCE)
    for guess, truth in zip(guesses, truths, strict=True):
        _check_target(truth, classes=classes, ignore=ignore)
        row = truth.to(guess.device, torch.int32, copy=True)
        if ignore < 0:
            row.masked_fill_(row == ignore, rows - 1)
        column = guess
        if _outside(guess, lowest=0, highest=labels - 1):
            column = guess.masked_fill(row == (rows - 1 if ignore < 0 else ignore), 0)
            if _outside(column, lowest=OUTSIDE, highest=labels - 1):
                raise LabelError(
                    f"prediction: expected {what} 0 to {labels - 1} or {OUTSIDE} (outside the "
                    f"candidates) on labelled pixels, got "
                    f"{_wrong(column, lowest=OUTSIDE, highest=labels - 1)}"
                )
            column = column.masked_fill(column == OUTSIDE, labels)
        cells = row.mul_(labels + 1).add_(column.to(torch.int32))
        total += torch.bincount(cells, minlength=len(total)).cpu()
    counts = total.view(rows, labels + 1)
    if classes < ignore and counts[classes:ignore].any():
        raise ValueError(_bad_target(target, classes=classes, ignore=ignore))
    return counts[:classes].clone()


def _check_target(values: Tensor, *, classes: int, ignore: int) -> None:
    if _outside(values, lowest=min(0, ignore), highest=max(classes - 1, ignore)):
        raise ValueError(_bad_target(values, classes=classes, ignore=ignore))


def _bad_target(values: Tensor, *, classes: int, ignore: int) -> str:
    kept = values[values != ignore]
    return (
        f"target: expected class ids 0 to {classes - 1} or {ignore} (ignored), got "
        f"{_wrong(kept, lowest=0, highest=classes - 1)}; "
        "check that the mask holds ids, not colours"
    )


def _outside(values: Tensor, *, lowest: int, highest: int) -> bool:
    if values.numel() == 0:
        return False
    low, high = torch.aminmax(values)
    return int(low) < lowest or int(high) > highest


def _wrong(values: Tensor, *, lowest: int, highest: int) -> list[int]:
    wrong = values[(values < lowest) | (values > highest)]
    return [int(value) for value in torch.unique(wrong)[:8]]
