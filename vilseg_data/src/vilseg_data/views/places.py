"""Where views lie on one another, from their boxes and flips alone.

Notation: places with any leading dimensions, boxes (..., 4) and flips (...); a grid of h by w
cells over a view is its pixels, its patches or any other even division. Normalised positions are
(x, y) in [-1, 1] from edge to edge (`align_corners=False`), so they fit every grid over a view.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """Where views lie in their source images.

    Args:
        boxes: (..., 4) as (x0, y0, x1, y1) in source pixels, edges not centres.
        flips: (...) bool; where true, the view shows its box mirrored left to right.

    Raises:
        ValueError: the shapes do not fit one another, or `flips` is not bool.
    """

    boxes: Tensor
    flips: Tensor

    def __post_init__(self) -> None:
        shape, flips = tuple(self.boxes.shape), tuple(self.flips.shape)
        if not shape or shape[-1] != 4 or shape[:-1] != flips:
            raise ValueError(
                f"boxes, flips: expected shapes (..., 4) and (...), came {shape} and {flips}; "
                "give every box its flip"
            )
        if self.flips.dtype != torch.bool:
            raise ValueError(
                f"flips: expected torch.bool, came {self.flips.dtype}; use flips.bool()"
            )

    def __getitem__(self, index: int | slice | Tensor) -> "Place":
        """The places of some of the views, by the first dimension."""
        return Place(boxes=self.boxes[index], flips=self.flips[index])


@dataclass(frozen=True, kw_only=True, eq=False)
class Overlap:
    """Where the cells of a grid over one view have their centres on another view.

    Args:
        grid: (..., h, w, 2) normalised positions (x, y) on the other view: what `F.grid_sample`
            takes with `align_corners=False`.
        valid: (..., h, w) bool, true where the centre lies on the other view.
    """

    grid: Tensor
    valid: Tensor

    def positions(self, size: tuple[int, int]) -> Tensor:
        """The positions (..., h, w, 2) as (x, y) in cells of a grid of `size` over the other view.

        The first cell reaches from 0 to 1 and has its centre at 0.5.
        """
        return (self.grid + 1) / 2 * self.grid.new_tensor([size[1], size[0]])

    def index(self, size: tuple[int, int]) -> Tensor:
        """The cell of a grid of `size` over the other view that holds each centre.

        Returns:
            (..., h, w) int64, row * width + column; -1 where not valid.
        """
        rows, columns = size
        x, y = self.positions(size).floor().long().unbind(-1)
        cell = y.clamp(0, rows - 1) * columns + x.clamp(0, columns - 1)
        return torch.where(self.valid, cell, -1)

    def take(self, features: Tensor) -> Tensor:
        """Features of the other view at the centres, interpolated; same dtype.

        Beyond the outermost centres of `features` its edge is continued, and so it is where not
        valid: mask those cells.

        Args:
            features: (..., c, rows, columns), whose leading dimensions expand to those of `grid`.

        Returns:
            (..., c, h, w).

        Raises:
            ValueError: another number of dimensions, or sizes that do not expand.
        """
        lead, own = self.grid.shape[:-3], features.shape
        pairs = zip(reversed(own[:-3]), reversed(lead), strict=False)
        if not 3 <= len(own) <= 3 + len(lead) or any(a not in (1, b) for a, b in pairs):
            raise ValueError(
                f"features: expected a shape that expands to {(*lead, 'c', 'rows', 'columns')}, "
                f"came {tuple(own)}; give the features of the other view, one grid a view"
            )
        values = features.expand(*lead, *own[-3:])
        n, dtype = math.prod(lead), torch.promote_types(features.dtype, torch.float32)
        found = F.grid_sample(
            values.reshape(n, *own[-3:]).to(dtype),
            self.grid.reshape(n, *self.grid.shape[-3:]).to(dtype),
            padding_mode="border",
            align_corners=False,
        )
        return found.view(*lead, *found.shape[-3:]).to(features.dtype)


def overlap(view: Place, other: Place, *, size: tuple[int, int]) -> Overlap:
    """Find the cells of a grid over `view` on `other`: view -> source image -> other view.

    The leading dimensions of the two places are broadcast, so local views (v, n) are found on
    the global views (n) of their images in one call. A view is found on itself at exactly its own
    centres; mirrored views are followed through their flips.

    Args:
        view: whose cells are looked up.
        other: where they are looked up, of the same source images.
        size: (h, w) of the grid over `view`: its size in pixels, or in patches.

    Raises:
        ValueError: the leading dimensions do not broadcast, or `size` has no cell.
    """
    if min(size) < 1:
        raise ValueError(
            f"size: expected (h, w) of at least 1, came {tuple(size)}; count the cells"
        )
    try:
        lead = np.broadcast_shapes(view.flips.shape, other.flips.shape)
    except ValueError as error:
        raise ValueError(
            f"view, other: expected leading dimensions that broadcast, came "
            f"{tuple(view.flips.shape)} and {tuple(other.flips.shape)}; take the views of the same "
            "images, e.g. local (v, n) and global (n,)"
        ) from error
    extent = other.boxes[..., 2:] - other.boxes[..., :2]
    zoom = (view.boxes[..., 2:] - view.boxes[..., :2]) / extent
    # Differences before sums: equal boxes give exactly 1 and 0.
    edges = view.boxes - other.boxes
    shift = (edges[..., :2] + edges[..., 2:]) / extent
    mirror = torch.where(view.flips, -1, 1), torch.where(other.flips, -1, 1)
    x = _centres(size[1], zoom) * mirror[0][..., None]
    x = (zoom[..., :1] * x + shift[..., :1]) * mirror[1][..., None]
    y = zoom[..., 1:] * _centres(size[0], zoom) + shift[..., 1:]
    grid = torch.stack(
        [
            x[..., None, :].expand(*lead, *size),
            y[..., :, None].expand(*lead, *size),
        ],
        dim=-1,
    )
    return Overlap(grid=grid, valid=(grid.abs() <= 1).all(-1))


def _centres(count: int, like: Tensor) -> Tensor:
    return (torch.arange(count, dtype=like.dtype, device=like.device) * 2 + 1) / count - 1
