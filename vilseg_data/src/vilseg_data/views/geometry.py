"""Affine maps as data: compose, invert, sample.

Notation: n images of c channels, h by w pixels. A map is a (n, 2, 3) tensor over normalised
coordinates: (x, y) in [-1, 1] from edge to edge, pixel i of w at (2 i + 1) / w - 1 (the
`align_corners=False` of torch). Maps pull: a map sends a position of the output to the position
of the input whose value it takes. Since coordinates are normalised, one map fits an image, its
label map and its feature grid alike.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vilseg_data.views.blocks import all_in_blocks, in_blocks
from vilseg_data.views.filters import blur

Mode = Literal["bilinear", "nearest"]

# A position is valid when at most this share of its value comes from outside the image: above
# the rounding of float32 coordinates (1e-3 of a pixel at 8,000 pixels), far below a visible error.
_LEAK = 1e-3


def identity(n: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str) -> Tensor:
    """The map that changes nothing, (n, 2, 3)."""
    return torch.eye(2, 3, dtype=dtype, device=device).expand(n, 2, 3)


def similarity(*, degrees: Tensor, zoom: Tensor, shift: Tensor, aspect: float = 1.0) -> Tensor:
    """The map that turns, magnifies and moves the content about the centre, (n, 2, 3).

    Args:
        degrees: (n,) clockwise as displayed.
        zoom: (n,) magnification of the content, above 0.
        shift: (n, 2) motion right and down, in shares of the width and of the height.
        aspect: width / height of the image, so that turning keeps right angles.
    """
    cosine, sine = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    # The inverse of p -> zoom * R p + 2 shift; R is a rotation once x is measured in heights.
    linear = torch.stack([cosine, sine / aspect, -sine * aspect, cosine], dim=-1)
    linear = linear.view(-1, 2, 2) / zoom[:, None, None]
    offset = -2 * (linear * shift[:, None, :]).sum(-1, keepdim=True)
    return torch.cat([linear, offset], dim=-1)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The map of warping by `first`, then warping the result by `second`."""
    # Elementwise, not matmul: autocast and TF32 must not round coordinates.
    linear = (first[..., :, :2, None] * second[..., None, :, :]).sum(-2)
    return torch.cat([linear[..., :2], linear[..., 2:] + first[..., 2:]], dim=-1)


def invert(maps: Tensor) -> Tensor:
    """The map that undoes `maps`; the linear part must have an inverse."""
    a, b, c, d = maps[..., 0, 0], maps[..., 0, 1], maps[..., 1, 0], maps[..., 1, 1]
    determinant = (a * d - b * c)[..., None, None]
    linear = torch.stack([d, -b, -c, a], dim=-1).view(*maps.shape[:-2], 2, 2) / determinant
    offset = -(linear * maps[..., None, :, 2]).sum(-1, keepdim=True)
    return torch.cat([linear, offset], dim=-1)


def transform(maps: Tensor, points: Tensor) -> Tensor:
    """Positions (n, ..., 2) sent through maps (n, 2, 3), in normalised coordinates."""
    maps = maps.view(maps.shape[0], *(1,) * (points.ndim - 2), 2, 3)
    return (maps[..., :2] * points[..., None, :]).sum(-1) + maps[..., 2]


def grid(maps: Tensor, *, size: tuple[int, int]) -> Tensor:
    """Where each pixel of an output of `size` (h, w) looks, (n, h, w, 2).

    In memory all x come before all y, as their arithmetic is fastest and as torch samples them.
    """
    h, w = size
    ys = (torch.arange(h, dtype=maps.dtype, device=maps.device) * 2 + 1) / h - 1
    xs = (torch.arange(w, dtype=maps.dtype, device=maps.device) * 2 + 1) / w - 1
    across = maps[:, :, :1] * xs + maps[:, :, 2:]
    return (across[:, :, None] + (maps[:, :, 1:2] * ys)[..., None]).permute(0, 2, 3, 1)


def sample(
    values: Tensor, maps: Tensor, *, mode: Mode = "bilinear", fill: float | None = None
) -> Tensor:
    """Warp `values` (n, c, h, w) of any dtype by `maps`; the size stays.

    Interpolates in float32 (float64 for float64 and for integers, which stay exact up to 2^53)
    and returns the dtype that came. There is no low-pass filter here: shrinking content far below
    half its size aliases unless `smooth` came first.

    Args:
        values: images, feature grids, or label maps with `mode="nearest"`.
        maps: (n, 2, 3).
        mode: "bilinear", or "nearest" for what must not be mixed.
        fill: value outside the input; None continues the input by reflection.
    """

    def warp(values: Tensor, maps: Tensor) -> Tensor:
        return _look_up(values, _places(values, maps), mode=mode, fill=fill)

    return in_blocks(warp, values, maps)


def restore(
    values: Tensor, maps: Tensor, *, mode: Mode = "bilinear", fill: float | None = None
) -> tuple[Tensor, Tensor]:
    """Undo the warp by `maps`: `sample` by their inverses.

    Returns:
        values: (n, c, h, w).
        valid: (n, 1, h, w) bool, whether a pixel's value comes from inside the input of the warp
            and the input of the way back.
    """

    def undo(values: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        back = _places(values, invert(maps))
        inside = _share_inside(_places(values, maps))
        valid = _grid_sample(inside, back, mode="bilinear") >= 1 - _LEAK
        return _look_up(values, back, mode=mode, fill=fill), valid

    restored, valid = all_in_blocks(undo, values, maps)
    return restored, valid


def _places(values: Tensor, maps: Tensor) -> Tensor:
    """Where the pixels of the warped values look, in the dtype in which these are interpolated."""
    whole = not values.is_floating_point()
    dtype = torch.float64 if whole or values.dtype == torch.float64 else torch.float32
    return grid(maps.to(dtype), size=(values.shape[-2], values.shape[-1]))


def _look_up(values: Tensor, where: Tensor, *, mode: Mode, fill: float | None) -> Tensor:
    padding = "reflection" if fill is None else "zeros"
    warped = _grid_sample(values.to(where.dtype), where, mode=mode, padding=padding)
    if fill:
        ones = torch.ones_like(values[:, :1], dtype=where.dtype)
        warped = warped + (1 - _grid_sample(ones, where, mode=mode)) * fill
    return warped.to(values.dtype)


def _share_inside(where: Tensor) -> Tensor:
    """The weights of the four pixels about each place that lie inside the input, (n, 1, h, w)."""
    h, w = where.shape[1:3]
    lengths = where.new_tensor([w, h])[:, None, None]
    shares = ((lengths + 1) / 2 - lengths / 2 * where.permute(0, 3, 1, 2).abs()).clamp_(0, 1)
    return shares[:, :1] * shares[:, 1:]


def smooth(values: Tensor, maps: Tensor) -> Tensor:
    """Blur `values` (n, c, h, w) by as much as sampling them by `maps` needs against aliasing.

    A Gaussian along columns and one along rows, of standard deviation sqrt(s^2 - 1) / 2 pixels,
    where the map steps over s > 1 pixels of that axis from one pixel of the output to the next.
    (With a pixel taken for a Gaussian of half a pixel, the output's pixel is as wide as the map
    makes it.) Where s <= 1, as in turning, moving and magnifying, nothing changes.
    """
    h, w = values.shape[-2:]
    to_pixels = maps.new_tensor([[1, w / h], [h / w, 1]])
    step = (maps[..., :2] * to_pixels).square().sum(-1)
    # 1e-5: the rounding of a turn must not count as shrinking.
    sigma = torch.where(step > 1 + 1e-5, (step - 1).clamp(min=0).sqrt() / 2, 0)
    return torch.where((sigma > 0).any(-1)[:, None, None, None], blur(values, sigma=sigma), values)


def _grid_sample(values: Tensor, where: Tensor, *, mode: Mode, padding: str = "zeros") -> Tensor:
    return F.grid_sample(values, where, mode=mode, padding_mode=padding, align_corners=False)
