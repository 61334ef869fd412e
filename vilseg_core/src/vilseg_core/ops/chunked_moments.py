"""Moments of two soft assignments over blocks of pixels: plain torch, bounded memory.

c = clusters; p, q = softmax of the logits of a pixel, w = its weight. The moments are the sum over
pixels of w [p; 1] [q; 1]^T, a (c + 1, c + 1) matrix of float64: products, both sums, the mass.

The product of a block is taken in the dtype of the logits from its probabilities less the smallest
of their cluster, and the offsets are put back in float64. What is left is small near the start of
training and exact where assignments are 0 or 1, so the covariance that the caller takes from the
moments keeps its digits in both places, without a second pass. The backward pass computes the
assignments again, from one number a pixel and side that the forward pass leaves.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from vilseg_core._numerics import at_least_float32, without_autocast
from vilseg_core.ops.offsets import restored

BLOCK_NUMBERS = 2**18
"""Probabilities of one side held at once: what a processor's second-level cache has room for."""
FEWEST_PIXELS = 256
SAMPLED = 16
"""Every which pixel of a block is looked at for the offsets; any offset is right."""

BOUND = 20.0
"""Logits within it need no shift: the products of their exponentials and sums stay in float32."""

Triple = tuple[Tensor, Tensor, Tensor]
Quadruple = tuple[Tensor, Tensor, Tensor, Tensor]


@torch.library.custom_op("vilseg::moments", mutates_args=())
def _moments(a: Tensor, b: Tensor, weights: Tensor | None, pixels: int) -> Quadruple:
    dtype, clusters = at_least_float32(a, b), a.shape[0]
    moments = a.new_zeros(clusters + 1, clusters + 1, dtype=torch.float64)
    bounded = _are_bounded(a) and _are_bounded(b)
    kept_a, kept_b = (
        x.new_empty(x.shape[1:], dtype=dtype) if bounded else x.amax(0).to(dtype) for x in (a, b)
    )
    above, inner = torch.empty_like(moments), a.ndim - 1
    left, right = (_Workspace(a, dtype, pixels) for _ in range(2))
    with without_autocast(a):
        for index in _blocks(a.shape[1:], pixels):
            p, scale_p = left.exponentials(a, kept_a, index, bounded=bounded, known=False)
            q, scale_q = right.exponentials(b, kept_b, index, bounded=bounded, known=False)
            p, q, scale_p, scale_q = (x.flatten(-inner) for x in (p, q, scale_p, scale_q))
            low_p, low_q = _lowest(p, scale_p), _lowest(q, scale_q)
            # One pass over each side both divides by its sums and takes the offset off.
            torch.addcmul(-low_p[:, None], p, scale_p, out=p)
            torch.addcmul(-low_q[:, None], q, scale_q, out=q)
            if weights is None:
                above[-1, -1], above[-1, :-1] = p.shape[1], q.sum(1)
            else:
                w = weights[index].reshape(-1)
                above[-1, -1], above[-1, :-1] = w.sum(), q @ w
                p *= w
            above[:-1, -1] = p.sum(1)
            above[:-1, :-1] = p @ q.T
            moments += restored(above, low_p.double(), low_q.double())
    return moments, kept_a, kept_b, a.new_full((), bounded, dtype=torch.bool)


@torch.library.custom_op("vilseg::moments_backward", mutates_args=())
def _moments_backward(
    grad: Tensor,
    moments: Tensor,
    kept_a: Tensor,
    kept_b: Tensor,
    bounded: Tensor,
    a: Tensor,
    b: Tensor,
    weights: Tensor | None,
    wants_weights: bool,
    pixels: int,
) -> Triple:
    dtype = at_least_float32(a, b)
    d_a, d_b = torch.empty_like(a), torch.empty_like(b)
    d_weights = a.new_empty(a.shape[1:] if wants_weights else (0,), dtype=dtype)
    # As p and q sum to 1, [p; 1]^T grad [q; 1] = p^T bilinear q + rest, and what this adds to the
    # gradient of p or q is constant over clusters, which a softmax does not see. The parts may
    # cancel, so they are put together in float64. The mean that is taken out is that over pixels:
    # where p is all but 1, its rounding is multiplied by what is left of its cluster's slope.
    bilinear = grad[:-1, :-1] + grad[:-1, -1:] + grad[-1:, :-1]
    mass = torch.where(moments[-1, -1] > 0, moments[-1, -1], 1.0)
    mean = (moments[:-1, :-1] * bilinear).sum() / mass
    rest = (grad[-1, -1] + mean).to(dtype)
    bilinear = (bilinear - mean).to(dtype)
    is_bounded = a.device.type == "cpu" and bool(bounded)
    left, right, slope = (_Workspace(a, dtype, pixels) for _ in range(3))
    with without_autocast(a):
        for index in _blocks(a.shape[1:], pixels):
            whole = (slice(None), *index)
            # u = p / scale_p. Only q is scaled, by both, so that each product of the two below has
            # each scale once: v = scale_p q.
            u, scale_p = left.exponentials(a, kept_a, index, bounded=is_bounded, known=True)
            v, scale_q = right.exponentials(b, kept_b, index, bounded=is_bounded, known=True)
            v *= scale_p * scale_q
            w = None if weights is None else weights[index]
            d = slope.like(u)
            torch.mm(bilinear, v.flatten(1), out=d.flatten(1))
            value = _through_softmax(d, u, scale_p, w, out=d_a[whole])
            torch.mm(bilinear.T, u.flatten(1), out=d.flatten(1))
            _through_softmax(d, v, scale_p.reciprocal(), w, out=d_b[whole])
            if wants_weights:
                d_weights[index] = value + rest
    return d_a, d_b, d_weights


def _through_softmax(
    slope: Tensor, shares: Tensor, scale: Tensor, weights: Tensor | None, *, out: Tensor
) -> Tensor:
    """Write w (shares slope - scale shares value), value = sum of shares slope over clusters.

    `slope` is overwritten; the value, (...), is returned.
    """
    slope *= shares
    value = slope.sum(0)
    factor = value * scale
    if weights is not None:
        slope *= weights
        factor *= weights
    torch.addcmul(slope, shares, factor, value=-1, out=out)
    return value


class _Workspace:
    """Memory for one side of a block, its clusters innermost where those of the logits are."""

    def __init__(self, logits: Tensor, dtype: torch.dtype, pixels: int) -> None:
        numbers = min(logits.numel(), logits.shape[0] * pixels)
        self.numbers = logits.new_empty(numbers, dtype=dtype)
        self.innermost = logits.stride(0) == 1

    def like(self, block: Tensor) -> Tensor:
        """Unset numbers in the shape of `block`, (c, ...), whose pixels flatten to a view."""
        numbers = self.numbers[: block.numel()]
        if self.innermost:
            return numbers.view(*block.shape[1:], block.shape[0]).movedim(-1, 0)
        return numbers.view(block.shape)

    def exponentials(
        self,
        logits: Tensor,
        kept: Tensor,
        index: tuple[slice, ...],
        *,
        bounded: bool,
        known: bool,
    ) -> tuple[Tensor, Tensor]:
        """A softmax of a block in two factors: exponentials (c, ...), one over their sums (...).

        `kept` is the second factor where logits are `bounded`, written unless `known`; else it is
        the highest logit of each pixel, which is taken off first.
        """
        block = logits[(slice(None), *index)].to(self.numbers.dtype)
        found, kept = self.like(block), kept[index]
        if not bounded:
            torch.sub(block, kept, out=found).exp_()
            return found, found.sum(0).reciprocal_()
        torch.exp(block, out=found)
        if not known:
            torch.sum(found, 0, out=kept).reciprocal_()
        return found, kept


def _lowest(exponentials: Tensor, scale: Tensor) -> Tensor:
    """Smallest share of each cluster among some pixels; all of them would cost as much as a sum."""
    return (exponentials[:, ::SAMPLED] * scale[::SAMPLED]).amin(1)


def _are_bounded(logits: Tensor) -> bool:
    """Whether it is known that no logit is beyond `BOUND`.

    Asked only where it pays, with clusters innermost, where the highest logit of a pixel takes as
    long as all the rest of its softmax; and only of a CPU, which does not have to be waited for.
    """
    if logits.device.type != "cpu" or logits.stride(0) != 1 or logits.numel() == 0:
        return False
    # Not aminmax, which copies a tensor of permuted dimensions.
    return bool(logits.amax() <= BOUND) and bool(logits.amin() >= -BOUND)


def _blocks(shape: Sequence[int], pixels: int) -> Iterator[tuple[slice, ...]]:
    """Indices of blocks of at most `pixels` positions that tile `shape`, strides left alone."""
    inner = math.prod(shape[1:])
    if 0 in shape:
        return
    if len(shape) == 1 or inner <= pixels:
        step = max(1, pixels // max(1, inner))
        yield from ((slice(start, start + step),) for start in range(0, shape[0], step))
        return
    for start in range(shape[0]):
        for index in _blocks(shape[1:], pixels):
            yield slice(start, start + 1), *index


@_moments.register_fake
def _(a: Tensor, b: Tensor, _weights: Tensor | None, _pixels: int) -> Quadruple:
    moments = a.new_empty(a.shape[0] + 1, a.shape[0] + 1, dtype=torch.float64)
    dtype = at_least_float32(a, b)
    kept_a, kept_b = (x.new_empty(x.shape[1:], dtype=dtype) for x in (a, b))
    return moments, kept_a, kept_b, a.new_empty((), dtype=torch.bool)


@_moments_backward.register_fake
def _(
    _grad: Tensor,
    _moments: Tensor,
    _kept_a: Tensor,
    _kept_b: Tensor,
    _bounded: Tensor,
    a: Tensor,
    b: Tensor,
    _weights: Tensor | None,
    wants_weights: bool,
    _pixels: int,
) -> Triple:
    shape = a.shape[1:] if wants_weights else (0,)
    d_weights = a.new_empty(shape, dtype=at_least_float32(a, b))
    return torch.empty_like(a), torch.empty_like(b), d_weights


def _save(ctx: Any, inputs: tuple[Any, ...], output: Quadruple) -> None:
    a, b, weights, ctx.pixels = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output, a, b, weights)


def _backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return None, None, None, None
    wanted = ctx.needs_input_grad[2]
    d_a, d_b, d_weights = _moments_backward(grad, *ctx.saved_tensors, wanted, ctx.pixels)
    return d_a, d_b, d_weights if wanted else None, None


_moments.register_autograd(_backward, setup_context=_save)


def moments(
    logits_a: Tensor,
    logits_b: Tensor,
    *,
    channel_dim: int,
    weights: Tensor | None,
    pixels: int | None = None,
) -> Tensor:
    """Sum over pixels of w [p; 1] [q; 1]^T, where p and q are the softmaxes of the two logits.

    Args:
        logits_a: logits with c channels along `channel_dim`, any strides, read in place.
        logits_b: the same shape.
        channel_dim: the dimension of the clusters, counted from 0.
        weights: one weight >= 0 a pixel, in the shape of the logits without their channels and
            in the dtype computed in; None for 1.
        pixels: how many are held at once; None for what fits a cache.

    Returns:
        (c + 1, c + 1), float64, with gradients of first order only.
    """
    a, b = logits_a.movedim(channel_dim, 0), logits_b.movedim(channel_dim, 0)
    if weights is not None:
        weights = weights.reshape(a.shape[1:])
    if pixels is None:
        pixels = max(FEWEST_PIXELS, BLOCK_NUMBERS // (a.shape[0] + 8))
    found: Quadruple = _moments(a, b, weights, pixels)
    return found[0]
