"""One answer of a segmenter into the confusion cells of its image, for every candidate set.

Legend: k classes, w words of the segmenter, (h, w) the label map of an image, r regions, l levels
of confidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vilseg_data import LabelledSample
from vilseg_eval.confusion import IGNORE, OUTSIDE, LabelError, count_pairs
from vilseg_eval.image_counts import Cells, Ints, nonzero_cells
from vilseg_eval.protocols import ClassSets, Protocol
from vilseg_eval.segmenters.base import RegionSegmentation, ScoredSegmentation, Segmentation

LEVELS = 1024
"""Confidence is counted in this many steps. A power of two: confidence < t / LEVELS if and only if
floor(confidence * LEVELS) < t, without rounding."""

KINDS = ("right", "wrong", "background")


@dataclass(frozen=True, kw_only=True)
class CandidateSet:
    """A matrix to fill.

    Args:
        name: see `Protocol.matrix`.
        words: indices of the words that a pixel may get.
        outside: the class id of a pixel that gets none of them; None where it is no class.
        threshold: the probability below which a pixel gets none of them; None for none.
    """

    name: str
    words: tuple[int, ...]
    outside: int | None = None
    threshold: float | None = None


def candidate_sets(
    protocols: Iterable[Protocol],
    *,
    sets: ClassSets,
    word_classes: Sequence[int],
    threshold: float | None,
) -> tuple[CandidateSet, ...]:
    """The matrices that the protocols are read from; those without any candidate are left out.

    Args:
        word_classes: the class id of each word of the segmenter.
        threshold: of the matrices in which background is a class; None where it has words.
    """
    found: dict[str, CandidateSet] = {}
    for protocol in protocols:
        classes = set(sets.candidates(protocol))
        words = tuple(i for i, c in enumerate(word_classes) if c in classes)
        if words:
            found[protocol.matrix] = CandidateSet(
                name=protocol.matrix,
                words=words,
                outside=sets.background if protocol.background else None,
                threshold=threshold if protocol.background else None,
            )
    return tuple(found.values())


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """What is kept of one image: its cells by candidate set, None where the answer could not be
    restricted to it; and, if asked for, cells of (kind, class, level) of its confidence."""

    key: str
    cells: dict[str, Cells | None]
    levels: Cells | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "cells": {name: _to_lists(cells) for name, cells in self.cells.items()},
            "levels": _to_lists(self.levels),
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> ImageRecord:
        cells = {name: _from_lists(lists) for name, lists in saved["cells"].items()}
        return cls(saved["key"], cells, _from_lists(saved["levels"]))


class Counter:
    """Counts answers.

    Args:
        sets: the classes.
        word_classes: the class id of each word of the segmenter.
        candidates: the matrices to fill.
        levels: whether the confidence of the whole word list is counted too.
    """

    def __init__(
        self,
        sets: ClassSets,
        *,
        word_classes: Sequence[int],
        candidates: Sequence[CandidateSet],
        levels: bool = False,
    ) -> None:
        self.sets, self.candidates, self.levels = sets, tuple(candidates), levels
        self.classes = len(sets.names)
        # The last entry is read by OUTSIDE, -1.
        self._columns = torch.tensor([*word_classes, self.classes])
        self._foreground = [i for i, c in enumerate(word_classes) if c != sets.background]

    def count(self, sample: LabelledSample, answer: Segmentation) -> ImageRecord:
        """The record of one image.

        Raises:
            LabelError: labels that cannot be scored.
            ValueError: confidence is needed and the answer has none.
        """
        regions = answer if isinstance(answer, RegionSegmentation) else None
        by_region = None if regions is None else self._by_region(regions, sample.labels)
        cells: dict[str, Cells | None] = {}
        for wanted in self.candidates:
            if regions is not None and by_region is not None:
                labels = regions.region_labels(wanted.words).cpu()
                if wanted.threshold is not None:
                    sure = regions.region_confidence(wanted.words).cpu()
                    labels = labels.masked_fill(sure < wanted.threshold, OUTSIDE)
                cells[wanted.name] = self._cells(by_region, self._columns[labels], wanted)
            else:
                cells[wanted.name] = self._count_pixels(sample, answer, wanted)
        levels = self._count_levels(sample, answer) if self.levels else None
        return ImageRecord(sample.key, cells, levels)

    def _by_region(self, answer: RegionSegmentation, target: Tensor) -> Ints:
        """(k, r): pixels by class and region."""
        regions = answer.scores.shape[0]
        counts = count_pairs(answer.regions, target, classes=self.classes, labels=regions)
        if counts[:, regions].any():
            raise LabelError(f"regions: expected row numbers from 0, got {OUTSIDE}")
        return counts[:, :regions].numpy()

    def _count_pixels(
        self, sample: LabelledSample, answer: Segmentation, wanted: CandidateSet
    ) -> Cells | None:
        labels = answer.labels(wanted.words)
        if labels is None:
            return None
        if wanted.threshold is not None:
            sure = _confidence(answer, wanted.words)
            labels = labels.masked_fill(sure < wanted.threshold, OUTSIDE)
        words = len(self._columns) - 1
        counts = count_pairs(
            labels, sample.labels, classes=self.classes, labels=words, what="word indices"
        )
        return self._cells(counts.numpy(), self._columns, wanted)

    def _cells(self, counts: Ints, columns: Tensor, wanted: CandidateSet) -> Cells:
        """`counts` (k, some labels) with label j counted as class columns[j]."""
        if wanted.outside is not None:
            columns = columns.masked_fill(columns == self.classes, wanted.outside)
        matrix = np.zeros((self.classes + 1, self.classes), dtype=np.int64)
        np.add.at(matrix, columns.numpy(), counts.T)
        return nonzero_cells(np.ascontiguousarray(matrix.T))

    def _count_levels(self, sample: LabelledSample, answer: Segmentation) -> Cells:
        """Cells of (kind, class, level): pixels of foreground that got their class, of foreground
        that got another, and of background, by predicted class and confidence."""
        labels = answer.labels(self._foreground)
        if labels is None:
            raise ValueError(_no_confidence(answer))
        level = (_confidence(answer, self._foreground) * LEVELS).long().clamp_(max=LEVELS - 1)
        predicted = self._columns.to(labels.device)[labels]
        truth = sample.labels.to(labels.device)
        kind = (predicted != truth).long()
        if self.sets.background is not None:
            kind = torch.where(truth == self.sets.background, 2, kind)
        kind = torch.where(truth == IGNORE, len(KINDS), kind)
        counts = count_pairs(
            predicted * LEVELS + level,
            kind,
            classes=len(KINDS),
            labels=self.classes * LEVELS,
            ignore=len(KINDS),
        )
        return nonzero_cells(counts[:, :-1].numpy())


def pooled_levels(records: Iterable[ImageRecord], *, classes: int) -> Ints:
    """(3, k, l) int64: the confidence of all images, by `KINDS`."""
    total = np.zeros(len(KINDS) * classes * LEVELS, dtype=np.int64)
    for record in records:
        if record.levels is not None:
            np.add.at(total, record.levels[0], record.levels[1])
    return total.reshape(len(KINDS), classes, LEVELS)


def _confidence(answer: Segmentation, words: Sequence[int]) -> Tensor:
    sure = answer.confidence(words) if isinstance(answer, ScoredSegmentation) else None
    if sure is None:
        raise ValueError(_no_confidence(answer))
    return sure


def _no_confidence(answer: Segmentation) -> str:
    return (
        "background: a threshold needs a segmenter that says how sure it is, "
        f"{type(answer).__name__} gives labels alone; ignore background or count it as a class"
    )


def _to_lists(cells: Cells | None) -> list[list[int]] | None:
    return None if cells is None else [cells[0].tolist(), cells[1].tolist()]


def _from_lists(lists: list[list[int]] | None) -> Cells | None:
    if lists is None:
        return None
    return np.array(lists[0], dtype=np.int32), np.array(lists[1], dtype=np.int64)
