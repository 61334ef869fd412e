"""Pixel-adaptive mask refinement (PAMR): maps follow the edges of the photo.

Araslanov and Roth, Single-Stage Semantic Segmentation from Image Labels, CVPR 2020, section 3.4.
With I the intensities, N(i) the eight neighbours of pixel i at each dilation and s_i^2 the
variance of I over them,

    k(i, j) = -|I_i - I_j| / s_i^2, averaged over the colour channels,
    a(i, j) = exp k(i, j) / sum over j' in N(i) of exp k(i, j'),
    m_i <- sum over j in N(i) of a(i, j) m_j, a number of times.

Beyond the border the nearest pixel is repeated. Legend: c maps, (h, w) their size.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

DILATIONS = (1, 2, 4, 8, 12, 24)
LONGEST_SIDE = 512
"""Maps of larger images are refined at this size: time and memory stay bounded."""

_LEAST_VARIANCE = 1e-4
_AROUND = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]


def working_size(height: int, width: int) -> tuple[int, int]:
    """The size at which the maps of an image (h, w) are refined."""
    factor = min(1.0, LONGEST_SIDE / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def refine(image: Tensor, maps: Tensor, *, passes: int) -> Tensor:
    """`maps` (c, h, w) after `passes` of PAMR on an image of the same size.

    Every pixel of every pass is a convex combination of its neighbours', so that maps which sum to
    1 go on doing so, and each map is refined by itself.

    Args:
        image: uint8 (3, h, w); intensities are taken in [0, 1].
    """
    if image.shape[1:] != maps.shape[1:]:
        raise ValueError(
            f"maps: expected the image's size {tuple(image.shape[1:])}, came "
            f"{tuple(maps.shape[1:])}; upsample them first"
        )
    weights = _affinity(image.to(maps.device).float() / 255)
    for _ in range(passes):
        maps = sum(
            (weight * moved for weight, moved in zip(weights, _neighbours(maps), strict=True)),
            torch.zeros_like(maps),
        )
    return maps


def shrink(image: Tensor, *, size: tuple[int, int]) -> Tensor:
    """The uint8 image at the working size, anti-aliased."""
    if image.shape[1:] == size:
        return image
    small = interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)[0]
    return small.round().clamp(0, 255).byte()


def _affinity(image: Tensor) -> Tensor:
    """(n, h, w): the weight of each of the n neighbours, summing to 1 over them."""
    total, squares, count = torch.zeros_like(image), torch.zeros_like(image), 0
    for moved in _neighbours(image):
        total += moved
        squares += moved.square()
        count += 1
    variance = (squares / count - (total / count).square()).clamp_min(_LEAST_VARIANCE)
    kernel = [-((image - moved).abs() / variance).mean(0) for moved in _neighbours(image)]
    return torch.stack(kernel).softmax(0)


def _neighbours(maps: Tensor) -> Iterator[Tensor]:
    """(c, h, w) moved by each offset: what stands there is the neighbour's value."""
    height, width = maps.shape[1:]
    reach = max(DILATIONS)
    wide = pad(maps[None], (reach, reach, reach, reach), mode="replicate")[0]
    for dilation in DILATIONS:
        for y, x in _AROUND:
            top, left = reach + dilation * y, reach + dilation * x
            yield wide[:, top : top + height, left : left + width]
