"""Pixels to one vector: the same family pools an image and the regions of an image.

b = images, r = regions of an image, d = feature dimension, (h, w) = grid.

Without masks a pooling maps pixels (b, d, h, w) to (b, d). With masks (b, r, h, w), bool or weights
>= 0, it maps them to (b, r, d), each region pooled by itself; a region without pixels gives zeros.
A mask of ones gives what no mask gives. Half-precision pixels are pooled in float32.
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vilseg_core._numerics import (
    at_least_float32,
    check_choice,
    check_floating,
    without_autocast,
)

PoolingKind = Literal["mean", "max", "lse", "attention"]


class Pooling(nn.Module):
    """What every pooling shares: the checks, and zeros for empty regions."""

    def forward(self, pixels: Tensor, masks: Tensor | None = None) -> Tensor:
        """(b, d, h, w) -> (b, d); with masks (b, r, h, w) -> (b, r, d).

        Raises:
            ValueError: the shapes do not fit, there is no pixel to pool, or pixels are integers.
        """
        check_floating("pixels", pixels)
        if pixels.ndim != 4 or pixels.shape[2] * pixels.shape[3] == 0:
            raise ValueError(
                "pixels: expected shape (b, d, h, w) with at least one pixel, came "
                f"{tuple(pixels.shape)}; pass the pixel features of a batch."
            )
        rows = pixels.flatten(2).to(at_least_float32(pixels))
        if masks is None:
            with without_autocast(pixels):
                return self._image(rows).to(pixels.dtype)
        if masks.ndim != 4 or (masks.shape[0], *masks.shape[2:]) != (
            pixels.shape[0],
            *pixels.shape[2:],
        ):
            b, _, h, w = pixels.shape
            raise ValueError(
                f"masks: expected shape ({b}, r, {h}, {w}) beside pixels of shape "
                f"{tuple(pixels.shape)}, came {tuple(masks.shape)}; resize the masks to the grid."
            )
        weights = masks.flatten(2).to(rows.dtype)
        filled = (weights > 0).any(-1, keepdim=True)
        with without_autocast(pixels):
            return torch.where(filled, self._regions(rows, weights), 0.0).to(pixels.dtype)

    def _image(self, rows: Tensor) -> Tensor:
        """(b, d, hw) -> (b, d)."""
        raise NotImplementedError

    def _regions(self, rows: Tensor, weights: Tensor) -> Tensor:
        """(b, d, hw), (b, r, hw) -> (b, r, d); finite, of any value, where a region is empty."""
        raise NotImplementedError


class MeanPooling(Pooling):
    """The mean feature, weighted by the mask; the region feature of the paper."""

    def _image(self, rows: Tensor) -> Tensor:
        return rows.mean(-1)

    def _regions(self, rows: Tensor, weights: Tensor) -> Tensor:
        total = weights.sum(-1, keepdim=True)
        return (weights @ rows.mT) / torch.where(total > 0, total, 1.0)


class MaxPooling(Pooling):
    """The largest value of each channel among the pixels whose weight is above 0."""

    def _image(self, rows: Tensor) -> Tensor:
        return rows.amax(-1)

    def _regions(self, rows: Tensor, weights: Tensor) -> Tensor:
        lowest = torch.finfo(rows.dtype).min
        outside = (weights <= 0).unsqueeze(2)
        # Region by region: (b, r, d, hw) at once is r times the features.
        pooled = [
            rows.masked_fill(outside[:, region], lowest).amax(-1)
            for region in range(weights.shape[1])
        ]
        return _stack_regions(pooled, rows)


class LogSumExpPooling(Pooling):
    """Per channel (1 / k) ln mean exp(k x): between the mean (k -> 0) and the maximum (k -> inf).

    Args:
        sharpness: k, in units of 1 / feature.

    Raises:
        ValueError: `sharpness` is not positive and finite.
    """

    def __init__(self, sharpness: float = 6.0) -> None:
        super().__init__()
        if not (math.isfinite(sharpness) and sharpness > 0):
            raise ValueError(
                f"sharpness: expected a positive finite number, came {sharpness!r}; 6.0 is usual, "
                "and 'mean' and 'max' are its limits."
            )
        self.sharpness = sharpness

    def _image(self, rows: Tensor) -> Tensor:
        scaled = self.sharpness * rows
        peak = scaled.detach().amax(-1, keepdim=True)
        return (peak.squeeze(-1) + _exp_below(scaled - peak).mean(-1).log()) / self.sharpness

    def _regions(self, rows: Tensor, weights: Tensor) -> Tensor:
        tiny = torch.finfo(rows.dtype).tiny
        scaled = self.sharpness * rows
        peaks = MaxPooling()._regions(scaled.detach(), weights)
        sums = [
            _exp_below(scaled - peaks[:, region].unsqueeze(2)) @ weights[:, region].unsqueeze(2)
            for region in range(weights.shape[1])
        ]
        means = _stack_regions([x.squeeze(2) for x in sums], rows) / weights.sum(
            -1, keepdim=True
        ).clamp_min(tiny)
        return (peaks + means.clamp_min(tiny).log()) / self.sharpness

    def extra_repr(self) -> str:
        return f"sharpness={self.sharpness:g}"


class AttentionPooling(Pooling):
    """Mean weighted by softmax(query . pixel / sqrt(d)), with one learned query.

    The query starts at 0, so the pooling starts as the mean.

    Args:
        dim: d.

    Raises:
        ValueError: `dim` is below 1.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"dim: expected at least 1, came {dim}; pass the feature dimension.")
        self.query = nn.Parameter(torch.zeros(dim))

    def _image(self, rows: Tensor) -> Tensor:
        return (rows @ self._scores(rows).softmax(-1).unsqueeze(-1)).squeeze(-1)

    def _regions(self, rows: Tensor, weights: Tensor) -> Tensor:
        finfo = torch.finfo(rows.dtype)
        scores = self._scores(rows).unsqueeze(1) + weights.clamp_min(finfo.tiny).log()
        return scores.masked_fill(weights <= 0, finfo.min).softmax(-1) @ rows.mT

    def _scores(self, rows: Tensor) -> Tensor:
        if rows.shape[1] != self.query.shape[0]:
            raise ValueError(
                f"pixels: expected {self.query.shape[0]} features a pixel, came {rows.shape[1]}; "
                "build AttentionPooling with the dimension of the features."
            )
        return (self.query.to(rows.dtype) @ rows) / math.sqrt(rows.shape[1])

    def extra_repr(self) -> str:
        return f"dim={self.query.shape[0]}"


def build_pooling(kind: PoolingKind, *, dim: int, sharpness: float = 6.0) -> Pooling:
    """The pooling of that name; `dim` serves `"attention"`, `sharpness` serves `"lse"`.

    Raises:
        ValueError: the name is not known.
    """
    builders: dict[str, Callable[[], Pooling]] = {
        "mean": MeanPooling,
        "max": MaxPooling,
        "lse": lambda: LogSumExpPooling(sharpness),
        "attention": lambda: AttentionPooling(dim),
    }
    check_choice("kind", kind, get_args(PoolingKind))
    return builders[kind]()


def _exp_below(shifted: Tensor) -> Tensor:
    """exp of what lies at or below a peak at 0; above it are only pixels the mask leaves out.

    The lower bound adds at most 1e-35 to a sum of at least 1. Without it exp underflows, which
    takes fifty times as long on a CPU. The upper bound is not 0, where clamp has no gradient.
    """
    return shifted.clamp(-80.0, 1.0).exp()


def _stack_regions(pooled: list[Tensor], rows: Tensor) -> Tensor:
    if not pooled:
        return rows.new_zeros(rows.shape[0], 0, rows.shape[1])
    return torch.stack(pooled, dim=1)
