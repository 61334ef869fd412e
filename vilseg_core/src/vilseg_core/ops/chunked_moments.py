"""Moments of two soft assignments over blocks of pixels: plain torch, bounded memory.

c = clusters, m = pixels of a block; p, q = softmax of the logits of a pixel, w = its weight. The
moments are the sum over pixels of w [p; 1] [q; 1]^T, a (c + 1, c + 1) matrix of float64: products,
both sums, the mass.

The product of a block is taken in the dtype of the logits from its probabilities less an offset of
their cluster, and the offsets are put back in float64. What is left is small near the start of
training and exact where assignments are 0 or 1, so the covariance that the caller takes from the
moments keeps its digits in both places, without a second pass.

The backward pass takes the assignments from where its gradients will be, or computes them again.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from vilseg_core._numerics import at_least_float32, without_autocast
from vilseg_core.ops.block_rooms import Rooms
from vilseg_core.ops.offsets import restored

BLOCK_NUMBERS = 2**19
"""Probabilities of one side held at once: few blocks, each within a processor's cache."""
FEWEST_PIXELS = 512
SAMPLED = 1024
"""About how many pixels are looked at for the offsets; any offset is right."""

Pair = tuple[Tensor, Tensor]
Triple = tuple[Tensor, Tensor, Tensor]


@torch.library.custom_op("vilseg::moments", mutates_args=())
def _moments(a: Tensor, b: Tensor, weights: Tensor | None, pixels: int) -> Tensor:
    return _sum_blocks(a, b, weights, pixels, keep=None)


@torch.library.custom_op("vilseg::moments_backward", mutates_args=())
def _moments_backward(
    grad: Tensor,
    moments: Tensor,
    a: Tensor,
    b: Tensor,
    weights: Tensor | None,
    wants_weights: bool,
    pixels: int,
) -> Triple:
    found = torch.empty_like(a), torch.empty_like(b)
    shape = a.shape[1:] if wants_weights else (0,)
    d_weights = a.new_empty(shape, dtype=at_least_float32(a, b))
    _gradients_into(found, d_weights, grad, moments, (a, b), weights, pixels)
    return *found, d_weights


def _sum_blocks(
    a: Tensor, b: Tensor, weights: Tensor | None, pixels: int, *, keep: Pair | None
) -> Tensor:
    """The moments of logits (c, ...); the assignments are left in the memory of `keep`."""
    rooms = Rooms(*(keep or (a, b)), pixels)
    side = a.shape[0] + 1
    product = a.new_empty(rooms.width, rooms.width, dtype=rooms.dtype)
    total = a.new_zeros(side, side, dtype=torch.float64)
    with without_autocast(a):
        low_p, low_q = (_smallest(x, rooms.dtype) for x in (a, b))
        for index in _blocks(a.shape[1:], pixels):
            p, q = _assigned((a, b), keep, (slice(None), *index), rooms)
            w = None if weights is None else weights[index].reshape(-1)
            left = rooms.above(p, low_p, w, room="left")
            right = rooms.above(q, low_q, None, room="right")
            total += torch.mm(left, right.T, out=product)[:side, :side]
    return restored(total, low_p.double(), low_q.double())


def _gradients_into(
    found: Pair,
    d_weights: Tensor,
    grad: Tensor,
    moments: Tensor,
    sources: Pair,
    weights: Tensor | None,
    pixels: int,
) -> None:
    """Write the gradients in the logits; `sources` are these, or `found` with the assignments.

    Those in the weights are left out where `d_weights` is empty.
    """
    dtype = found[0].dtype if sources is found else at_least_float32(*sources)
    # As p and q sum to 1, [p; 1]^T grad [q; 1] = p^T bilinear q + rest, and what this adds to the
    # gradient of p or q is constant over clusters, which a softmax does not see. The parts may
    # cancel, so they are put together in float64. The mean that is taken out is that over pixels:
    # where p is all but 1, its rounding is multiplied by what is left of its cluster's slope.
    bilinear = grad[:-1, :-1] + grad[:-1, -1:] + grad[-1:, :-1]
    mass = torch.where(moments[-1, -1] > 0, moments[-1, -1], 1.0)
    mean = (moments[:-1, :-1] * bilinear).sum() / mass
    rest = (grad[-1, -1] + mean).to(dtype)
    bilinear = (bilinear - mean).to(dtype)
    rooms = Rooms(*sources, pixels)
    with without_autocast(moments):
        for index in _blocks(sources[0].shape[1:], pixels):
            whole = (slice(None), *index)
            if sources is found:
                p, q = (rooms.kept(x[whole], room=r) for x, r in zip(found, "pq", strict=True))
            else:
                p, q = _assigned(sources, None, whole, rooms)
            w = None if weights is None else weights[index].reshape(-1)
            # Both before either is written, since that may be where the assignments lie.
            slopes_p, slopes_q = (rooms.matrix(room, p.shape[1]) for room in ("left", "right"))
            torch.mm(bilinear, q, out=slopes_p)
            torch.mm(bilinear.T, p, out=slopes_q)
            if d_weights.numel() > 0:
                value = torch.mul(p, slopes_p).sum(0) + rest
                d_weights[index] = value.view_as(d_weights[index])
            rooms.through_softmax(slopes_p, p, w, out=found[0][whole])
            rooms.through_softmax(slopes_q, q, w, out=found[1][whole])


class _KeptMoments(torch.autograd.Function):
    """`_moments` whose assignments wait where the gradients will be: no second softmax, and no more
    memory than the gradients take. A graph that is kept has them computed again.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, weights: Tensor | None, pixels: int) -> Tensor:
        ctx.kept = torch.empty_like(a), torch.empty_like(b)
        moments = _sum_blocks(a, b, weights, pixels, keep=ctx.kept)
        _save(ctx, (a, b, weights, pixels), moments)
        return moments

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        if grad is None:
            return None, None, None, None
        moments, a, b, weights = ctx.saved_tensors
        with torch.no_grad():
            kept, ctx.kept = ctx.kept or _all_assigned(a, b, ctx.pixels), None
            d_weights = a.new_empty(a.shape[1:] if ctx.needs_input_grad[2] else (0,))
            _gradients_into(kept, d_weights, grad, moments, kept, weights, ctx.pixels)
        found = [*kept, d_weights] if ctx.needs_input_grad[2] else list(kept)
        if torch.is_grad_enabled():
            found = [_Once.apply(x, a, b, grad) for x in found]
        return *found, *(None,) * (4 - len(found))


class _Once(torch.autograd.Function):
    """The first argument, as a function of all that has no derivative.

    torch's `once_differentiable` cuts the graph instead, so that a second derivative in `a` would
    be taken for zero where `allow_unused` is given.
    """

    @staticmethod
    def forward(_ctx: Any, gradient: Tensor, *_inputs: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(_ctx: Any, *_grads: Tensor) -> None:
        raise RuntimeError(
            "mutual information in chunks: cannot differentiate twice; use impl='reference'"
        )


def _assigned(
    logits: Pair, keep: Pair | None, whole: tuple[slice, ...], rooms: Rooms
) -> tuple[Tensor, Tensor]:
    """Assignments of a block of both sides as matrices, left in the memory of `keep`."""
    kept = (None, None) if keep is None else (keep[0][whole], keep[1][whole])
    p = rooms.assignments(logits[0][whole], room="p", keep=kept[0])
    q = rooms.assignments(logits[1][whole], room="q", keep=kept[1])
    return p, q


def _all_assigned(a: Tensor, b: Tensor, pixels: int) -> Pair:
    """What the forward pass has left, again and to the same bits."""
    found = torch.empty_like(a), torch.empty_like(b)
    rooms = Rooms(*found, pixels)
    for index in _blocks(a.shape[1:], pixels):
        _assigned((a, b), found, (slice(None), *index), rooms)
    return found


def _smallest(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """Smallest share of each cluster, (c,), among some pixels from all over."""
    if logits.numel() == 0:
        return logits.new_zeros(logits.shape[0], dtype=dtype)
    each = math.ceil(SAMPLED ** (1 / (logits.ndim - 1)))
    steps = (slice(None, None, max(1, size // each)) for size in logits.shape[1:])
    return logits[(slice(None), *steps)].to(dtype).softmax(0).flatten(1).amin(1)


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
def _(a: Tensor, _b: Tensor, _weights: Tensor | None, _pixels: int) -> Tensor:
    return a.new_empty(a.shape[0] + 1, a.shape[0] + 1, dtype=torch.float64)


@_moments_backward.register_fake
def _(
    _grad: Tensor,
    _moments: Tensor,
    a: Tensor,
    b: Tensor,
    _weights: Tensor | None,
    wants_weights: bool,
    _pixels: int,
) -> Triple:
    shape = a.shape[1:] if wants_weights else (0,)
    d_weights = a.new_empty(shape, dtype=at_least_float32(a, b))
    return torch.empty_like(a), torch.empty_like(b), d_weights


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, b, weights, ctx.pixels = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output, a, b, weights)


def _backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
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
    inputs = [x for x in (a, b, weights) if x is not None]
    keeps = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    keeps = keeps and a.dtype == b.dtype == at_least_float32(a, b)
    # What is written twice is not for a graph that torch.compile makes of operators.
    if keeps and not torch.compiler.is_compiling():
        found: Tensor = _KeptMoments.apply(a, b, weights, pixels)
    else:
        found = _moments(a, b, weights, pixels)
    return found
