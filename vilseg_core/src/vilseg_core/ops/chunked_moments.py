"""Moments of two soft assignments over blocks of pixels: plain torch, bounded memory.

c = clusters; p, q = softmax of the logits of a pixel, w = its weight. The moments are the sum over
pixels of w [p; 1] [q; 1]^T, a (c + 1, c + 1) matrix of float64: products, both sums, the mass.

Each block is centred at its own mean before its product is taken in the dtype of the logits, and
the means are put back in float64, so the covariance that the caller takes from the moments keeps
its digits without a second pass. The backward pass computes the assignments again, centred too.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from vilseg_core._numerics import at_least_float32, without_autocast

BLOCK_NUMBERS = 2**17
"""Probabilities of one side held at once: what a processor's second-level cache has room for."""
FEWEST_PIXELS = 256


@torch.library.custom_op("vilseg::moments", mutates_args=())
def _moments(a: Tensor, b: Tensor, weights: Tensor | None, pixels: int) -> Tensor:
    dtype, clusters = at_least_float32(a, b), a.shape[0]
    moments = a.new_zeros(clusters + 1, clusters + 1, dtype=torch.float64)
    with without_autocast(a):
        for index in _blocks(a.shape[1:], pixels):
            p, q = _assignments(a, index, dtype), _assignments(b, index, dtype)
            if weights is None:
                mass = p.new_full((1,), p.shape[1])
                mean_p, mean_q = p.mean(1), q.mean(1)
                p -= mean_p[:, None]
            else:
                w = weights[index].reshape(-1)
                mass = w.sum().reshape(1)
                share = w / torch.where(mass > 0, mass, 1.0)
                mean_p, mean_q = p @ share, q @ share
                p = p.sub_(mean_p[:, None]).mul_(w)
            q -= mean_q[:, None]
            moments[:-1, :-1] += p @ q.T
            ones = torch.ones_like(mass)
            left, right = torch.cat([mean_p, ones]).double(), torch.cat([mean_q, ones]).double()
            moments.addr_(left * mass, right)
    return moments


@torch.library.custom_op("vilseg::moments_backward", mutates_args=())
def _moments_backward(
    grad: Tensor,
    moments: Tensor,
    a: Tensor,
    b: Tensor,
    weights: Tensor | None,
    wants_weights: bool,
    pixels: int,
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = at_least_float32(a, b)
    d_a, d_b = torch.empty_like(a), torch.empty_like(b)
    d_weights = a.new_empty(a.shape[1:] if wants_weights else (0,), dtype=dtype)
    # As p and q sum to 1, [p; 1]^T grad [q; 1] = p^T bilinear q + rest, and what this adds to the
    # gradient of p or q is constant over clusters, which a softmax does not see. The parts may
    # cancel, so they are put together in float64, with the mean taken out.
    bilinear = grad[:-1, :-1] + grad[:-1, -1:] + grad[-1:, :-1]
    mass = torch.where(moments[-1, -1] > 0, moments[-1, -1], 1.0)
    mean = moments[:-1, -1] @ bilinear @ moments[-1, :-1] / mass.square()
    rest = (grad[-1, -1] + mean).to(dtype)
    bilinear = (bilinear - mean).to(dtype)
    with without_autocast(a):
        for index in _blocks(a.shape[1:], pixels):
            p, q = _assignments(a, index, dtype), _assignments(b, index, dtype)
            d_p, d_q = bilinear @ q, bilinear.T @ p
            value = torch.mul(p, d_p).sum(0)
            d_p -= value
            d_q -= value
            if weights is not None:
                w = weights[index]
                if wants_weights:
                    d_weights[index] = (value + rest).view(w.shape)
                d_p *= w.reshape(-1)
                d_q *= w.reshape(-1)
            whole = (slice(None), *index)
            for target, share, d_share in ((d_a, p, d_p), (d_b, q, d_q)):
                block = target[whole]
                torch.mul(share.view(block.shape), d_share.view(block.shape), out=block)
    return d_a, d_b, d_weights


def _blocks(shape: Sequence[int], pixels: int) -> Iterator[tuple[slice, ...]]:
    """Indices of blocks of at most `pixels` positions that tile `shape`, strides left alone."""
    inner = math.prod(shape[1:])
    if len(shape) == 1 or inner <= pixels:
        step = max(1, pixels // max(1, inner))
        yield from ((slice(start, start + step),) for start in range(0, shape[0], step))
        return
    for start in range(shape[0]):
        for index in _blocks(shape[1:], pixels):
            yield slice(start, start + 1), *index


def _assignments(logits: Tensor, index: tuple[slice, ...], dtype: torch.dtype) -> Tensor:
    """Softmax of a block as (c, pixels), contiguous whatever the strides of the logits."""
    block = logits[(slice(None), *index)]
    shares = torch.empty(block.shape, dtype=dtype, device=block.device)
    # The subtraction reads the logits in place where it can do so at speed and in `dtype`.
    if block.dtype != dtype or block.stride(0) == 1:
        block = shares.copy_(block)
    torch.sub(block, block.amax(0), out=shares).exp_()
    return shares.div_(shares.sum(0)).flatten(1)


@_moments.register_fake
def _(a: Tensor, *_: Any) -> Tensor:
    return a.new_empty(a.shape[0] + 1, a.shape[0] + 1, dtype=torch.float64)


@_moments_backward.register_fake
def _(
    _grad: Tensor,
    _sums: Tensor,
    a: Tensor,
    b: Tensor,
    _weights: Tensor | None,
    wants_weights: bool,
    _pixels: int,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = a.shape[1:] if wants_weights else (0,)
    d_weights = a.new_empty(shape, dtype=at_least_float32(a, b))
    return torch.empty_like(a), torch.empty_like(b), d_weights


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, b, weights, ctx.pixels = inputs
    ctx.save_for_backward(output, a, b, weights)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
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
        weights: one weight >= 0 a pixel in their order, or None for 1; the dtype computed in.
        pixels: how many are held at once; None for what fits a cache.

    Returns:
        (c + 1, c + 1), float64, with gradients of first order only.
    """
    a, b = logits_a.movedim(channel_dim, 0), logits_b.movedim(channel_dim, 0)
    if weights is not None:
        weights = weights.reshape(a.shape[1:])
    if pixels is None:
        pixels = max(FEWEST_PIXELS, BLOCK_NUMBERS // a.shape[0])
    found: Tensor = _moments(a, b, weights, pixels)
    return found
