"""What a segmenter is, and the three forms of its answer.

Legend: k words of the segmenter, (h, w) the size of one image, r regions of one image. Label maps
hold indices into the whole word list, whichever candidates were allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from vilseg_eval.upsampling import upsampled_argmax, upsampled_confidence

LOGIT_SCALE = 1 / 0.07
"""What cosines are multiplied by before a softmax, unless the segmenter says otherwise."""


class Segmentation(Protocol):
    """One segmented image, open to any restriction of the word list.

    One that says how sure it is has a second method, `confidence`: see `ScoredSegmentation`.
    """

    def labels(self, candidates: Sequence[int], /) -> Tensor | None:
        """(h, w) int64 indices into the whole word list, each one of `candidates`; None where
        this form of answer cannot be restricted to them."""
        ...


@runtime_checkable
class ScoredSegmentation(Segmentation, Protocol):
    """A segmentation that says how sure it is of each pixel."""

    def confidence(self, candidates: Sequence[int], /) -> Tensor | None:
        """(h, w) float32 in [0, 1]: the softmax probability, over exactly `candidates`, of the
        label that `labels(candidates)` gives; None where the answer carries no scores."""
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
    """Regions and what each resembles: `regions` (h, w) int64 row numbers, `scores` (r, k).

    `scale` makes logits of the scores (confidence alone depends on it).
    """

    regions: Tensor
    scores: Tensor
    scale: float = LOGIT_SCALE

    def labels(self, candidates: Sequence[int], /) -> Tensor:
        return self.region_labels(candidates)[self.regions]

    def confidence(self, candidates: Sequence[int], /) -> Tensor:
        return self.region_confidence(candidates)[self.regions]

    def region_labels(self, candidates: Sequence[int], /) -> Tensor:
        """(r,) int64: the label of every pixel of a region."""
        allowed = _checked(candidates, words=self.scores.shape[1]).to(self.scores.device)
        return allowed[self.scores[:, allowed].argmax(1)]

    def region_confidence(self, candidates: Sequence[int], /) -> Tensor:
        """(r,) float32: the confidence of every pixel of a region."""
        allowed = _checked(candidates, words=self.scores.shape[1]).to(self.scores.device)
        return (self.scale * self.scores[:, allowed].float()).softmax(1).amax(1)


@dataclass(frozen=True)
class DenseSegmentation:
    """Scores of every word on a grid, (k, grid h, grid w), brought to `size` (h, w) bilinearly.

    `scale` makes logits of the scores (confidence alone depends on it).
    """

    scores: Tensor
    size: tuple[int, int]
    scale: float = LOGIT_SCALE

    def labels(self, candidates: Sequence[int], /) -> Tensor:
        allowed = _checked(candidates, words=self.scores.shape[0]).to(self.scores.device)
        return allowed[upsampled_argmax(self.scores[allowed], size=self.size)]

    def confidence(self, candidates: Sequence[int], /) -> Tensor:
        allowed = _checked(candidates, words=self.scores.shape[0]).to(self.scores.device)
        return upsampled_confidence(self.scale * self.scores[allowed].float(), size=self.size)


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
