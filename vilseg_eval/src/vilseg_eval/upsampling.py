"""From the token grid to the pixels of an image, in memory that no image and no list outgrows.

Legend: c channels (clusters or words), (gh, gw) the token grid, (h, w) one image.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import interpolate

_VALUES_AT_ONCE = 2**21


def upsample(grid: Tensor, *, size: tuple[int, int]) -> Tensor:
    """(c, gh, gw) to (c, h, w), bilinear, grid cells as areas (not corners)."""
    return _rows(grid, size=size, top=0, bottom=size[0])


def stripes(grid: Tensor, *, size: tuple[int, int]) -> Iterator[tuple[slice, Iterator[Tensor]]]:
    """`upsample` in parts: rows of the image, and for each the channels of those rows in order.

    A part has two million values at most (one row of one channel at least), so that the memory
    does not grow with channels or pixels.
    """
    height, width = size
    channels = min(len(grid), max(1, _VALUES_AT_ONCE // (16 * width)))
    rows = min(height, max(1, _VALUES_AT_ONCE // (channels * width)))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        yield (
            slice(top, bottom),
            (
                _rows(grid[start : start + channels], size=size, top=top, bottom=bottom)
                for start in range(0, len(grid), channels)
            ),
        )


def upsampled_argmax(grid: Tensor, *, size: tuple[int, int]) -> Tensor:
    """(h, w) int64: the channel of (c, gh, gw) that is highest after `upsample`; the first of
    equals."""
    labels = torch.empty(size, dtype=torch.int64, device=grid.device)
    for rows, parts in stripes(grid, size=size):
        first = next(parts)
        highest, best = first.max(0)
        start = len(first)
        for values in parts:
            high, channels = values.max(0)
            above = high > highest
            highest = torch.where(above, high, highest)
            best = torch.where(above, channels + start, best)
            start += len(values)
        labels[rows] = best
    return labels


def upsampled_confidence(grid: Tensor, *, size: tuple[int, int]) -> Tensor:
    """(h, w): the highest softmax probability over the channels of (c, gh, gw) after `upsample`."""
    confidence = grid.new_empty(size)
    for rows, parts in stripes(grid, size=size):
        first = next(parts)
        highest, total = first.amax(0), first.logsumexp(0)
        for values in parts:
            highest = torch.maximum(highest, values.amax(0))
            total = torch.logaddexp(total, values.logsumexp(0))
        confidence[rows] = (highest - total).exp()
    return confidence


def nearest(labels: Tensor, *, size: tuple[int, int]) -> Tensor:
    """(gh, gw) to (h, w): each pixel takes the label of the token in which its middle lies."""
    rows, columns = (
        (2 * torch.arange(pixels, device=labels.device) + 1) * tokens // (2 * pixels)
        for pixels, tokens in zip(size, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]


def _rows(grid: Tensor, *, size: tuple[int, int], top: int, bottom: int) -> Tensor:
    """(c, bottom - top, w): those rows of the upsampled grid."""
    channels, tokens, wide = grid.shape
    place = (torch.arange(top, bottom, device=grid.device) + 0.5) * (tokens / size[0]) - 0.5
    place = place.clamp(0, tokens - 1)
    above = place.floor().long()
    below = (above + 1).clamp_max(tokens - 1)
    share = (place - above).to(grid.dtype)[:, None]
    tall = torch.lerp(grid[:, above], grid[:, below], share)
    flat = tall.reshape(1, channels * (bottom - top), wide)
    rows = interpolate(flat, size=size[1], mode="linear", align_corners=False)
    return rows.view(channels, bottom - top, size[1])
