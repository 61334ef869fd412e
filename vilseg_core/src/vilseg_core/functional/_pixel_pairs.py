"""Moments of two soft assignments over pairs of pixels, all at once: the reference.

A pair is a pixel x of the first side and x + u of the second, for every displacement u of at most
T rows and T columns that stays inside the grid (Ji et al. 2019, section 3.3); T = 0 pairs each
pixel with itself. A pair weighs w(x), or 0 where w(x + u) is 0.

Probabilities are taken less the smallest of their cluster. What is left is as small as their spread
near the start of training, exact where they are 0 or 1, and never negative: sums of its products
lose no more digits than those of the plain formula anywhere.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vilseg_core.ops.offsets import restored


class PairMoments(NamedTuple):
    """Sum of w [p - low_p; 1] [q - low_q; 1]^T, (heads, c + 1, c + 1), and both (heads, c)."""

    total: Tensor
    low_p: Tensor
    low_q: Tensor

    def restored(self) -> Tensor:
        """Sum of w [p; 1] [q; 1]^T."""
        return restored(*self)


def pair_moments(
    shares_a: Tensor, shares_b: Tensor, weights: Tensor | None, *, displacement: int
) -> PairMoments:
    """Moments of all pairs; shares (heads, ..., c), weights (...), with ... = (b, h, w) for T > 0.

    In the dtype of the shares, derivatives of every order.
    """
    p, low_p = _above_lowest(shares_a)
    q, low_q = _above_lowest(shares_b)
    weights = None if weights is None else weights.to(p.dtype)
    if displacement > 0:
        if weights is None:
            weights = p.new_ones(p.shape[1:-1])
        present = (weights > 0).to(p.dtype)
        left, partners = _weighted(p, weights), _box(_weighted(q, present), displacement)
        weights_p = weights * _box(present[None, ..., None], displacement)[0, ..., 0]
        weights_q = present * _box(weights[None, ..., None], displacement)[0, ..., 0]
        of_p, of_q, mass = _weighted(p, weights_p), _weighted(q, weights_q), weights_p.sum()
    elif weights is not None:
        left, partners = _weighted(p, weights), q
        of_p, of_q, mass = left, _weighted(q, weights), weights.sum()
    else:
        left, partners, of_p, of_q = p, q, p, q
        mass = p.new_full((), p[0, ..., 0].numel())
    products = left.flatten(1, -2).mT @ partners.flatten(1, -2)
    sums_p, sums_q = (x.flatten(1, -2).sum(1) for x in (of_p, of_q))
    corner = mass.expand(p.shape[0], 1, 1)
    top = torch.cat([products, sums_p[..., None]], dim=-1)
    bottom = torch.cat([sums_q[:, None], corner], dim=-1)
    return PairMoments(torch.cat([top, bottom], dim=1), low_p, low_q)


def _above_lowest(shares: Tensor) -> tuple[Tensor, Tensor]:
    """Shares (heads, ..., c) less the smallest of each cluster, which has no gradient here."""
    pixels = shares.detach().flatten(1, -2)
    # No pixel has no smallest share.
    low = pixels.amin(1) if pixels.shape[1] else pixels.sum(1)
    return shares - low.reshape(low.shape[0], *[1] * (shares.ndim - 2), -1), low


def _weighted(shares: Tensor, weights: Tensor) -> Tensor:
    return shares * weights[..., None]


def _box(values: Tensor, displacement: int) -> Tensor:
    """Sum over the square of 2 T + 1 around each pixel: (heads, b, h, w, k) to the same shape."""
    rows, columns = (_band(size, displacement, values) for size in values.shape[2:4])
    values = torch.einsum("yi,nbixk->nbyxk", rows, values)
    return torch.einsum("xj,nbyjk->nbyxk", columns, values)


def _band(size: int, displacement: int, like: Tensor) -> Tensor:
    """(size, size), 1 where two positions are at most `displacement` apart."""
    position = torch.arange(size, device=like.device)
    near = (position[:, None] - position).abs() <= displacement
    return near.to(like.dtype)
