"""What a segmenter is, and the three forms of its answer.

Legend: k words of the segmenter, (h, w) the size of one image, r regions of one image. Label maps
hold indices into the whole word list, whichever candidates were allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vilseg_eval.upsampling import upsampled_argmax


class Segmentation(Protocol):
    """One segmented image, open to any restriction of the word list."""

    def labels(self, candidates: Sequence[int], /) -> Tensor | None:
        """(h, w) int64 indices into the whole word list, each one of `candidates`; None where
        this form of answer cannot be restricted to them."""
        ...


class Segmenter(Protocol):
    """Images and a word list to label maps. Anything with these four names can be evaluated."""

    @property
    def name(self) -> str: ...
    @property
    def words(self) -> tuple[str, ...]: ...
    @property
    def templates(self) -> tuple[str, ...]: ...
    def segment(self, images: Sequence[Tensor], keys: Sequence[str], /) -> Sequence[Segmentation]:
        """One answer for each image, in order. images: uint8 (3, h, w), sizes may differ."""
        ...


@dataclass(frozen=True)
class RegionSegmentation:
    """Regions and what each resembles: `regions` (h, w) int64 row numbers, `scores` (r, k)."""

    regions: Tensor
    scores: Tensor

    def labels(self, candidates: Sequence[int], /) -> Tensor:
        allowed = _checked(candidates, words=self.scores.shape[1]).to(self.scores.device)
        return allowed[self.scores[:, allowed].argmax(1)][self.regions]


@dataclass(frozen=True)
class DenseSegmentation:
    """Scores of every word on a grid, (k, grid h, grid w), brought to `size` (h, w) bilinearly."""

    scores: Tensor
    size: tuple[int, int]

    def labels(self, candidates: Sequence[int], /) -> Tensor:
        allowed = _checked(candidates, words=self.scores.shape[0]).to(self.scores.device)
        return allowed[upsampled_argmax(self.scores[allowed], size=self.size)]


@dataclass(frozen=True)
class LabelSegmentation:
    """Labels without scores: only the whole list of `words` words can be answered.

    Args:
        load: gives the (h, w) int64 label map; called when it is asked for.
    """

    load: Callable[[], Tensor]
    words: int

    def labels(self, candidates: Sequence[int], /) -> Tensor | None:
        allowed = _checked(candidates, words=self.words)
        return self.load() if len(allowed) == self.words else None


def _checked(candidates: Sequence[int], *, words: int) -> Tensor:
    chosen = sorted(set(candidates))
    if not chosen or chosen[0] < 0 or chosen[-1] >= words:
        raise ValueError(
            f"candidates: expected word indices from 0 to {words - 1}, at least one, "
            f"got {list(candidates)[:8]}"
        )
    return torch.tensor(chosen)
