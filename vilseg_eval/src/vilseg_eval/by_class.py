"""A segmenter whose words are classes, made of one with more words than classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vilseg_eval.confusion import OUTSIDE
from vilseg_eval.protocols import ClassSets
from vilseg_eval.segmenters.base import Segmentation, Segmenter


@dataclass(frozen=True)
class ClassSegmentation:
    """`answer` with words grouped to foreground classes; words of background are outside."""

    answer: Segmentation
    position: Tensor

    def labels(self, candidates: Sequence[int], /) -> Tensor | None:
        """(h, w) positions among the foreground classes, or `OUTSIDE`."""
        wanted = {*candidates, OUTSIDE}
        words = [i for i, p in enumerate(self.position[:-1].tolist()) if p in wanted]
        labels = self.answer.labels(words)
        return None if labels is None else self.position.to(labels.device)[labels]


class ByClass:
    """One word, the first, for each foreground class: what pictures and legends need.

    Args:
        word_classes: the class id of each word of the segmenter.
    """

    def __init__(
        self, segmenter: Segmenter, *, word_classes: Sequence[int], sets: ClassSets
    ) -> None:
        self.segmenter = segmenter
        self.name, self.templates = segmenter.name, segmenter.templates
        foreground = {c: i for i, c in enumerate(sets.foreground)}
        places = [foreground.get(c, OUTSIDE) for c in word_classes]
        self.words = tuple(segmenter.words[places.index(i)] for i in foreground.values())
        # The last entry is read by OUTSIDE, -1.
        self._position = torch.tensor([*places, OUTSIDE])

    def segment(self, images: Sequence[Tensor], keys: Sequence[str], /) -> list[ClassSegmentation]:
        """One answer for each uint8 (3, h, w) image."""
        return [
            ClassSegmentation(answer, self._position)
            for answer in self.segmenter.segment(images, keys)
        ]
