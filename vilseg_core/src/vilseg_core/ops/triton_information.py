"""Mutual information by Triton kernels: softmaxes never reach memory, logits are read in place.

c = clusters; p, q = softmax of the logits of a pixel, w = its weight, J = their joint.

Each program sums products of its own pixels' shares less the smallest of their cluster, or the mean
where operands have 11 bits and shares are alike (ADR 5); parts are put together in float64.
Operands are in float16, scaled to fill it: TF32's 11 bits at twice its rate, rounded rather than
cut off; float32 logits take two such numbers an operand, 22 bits.
"""

from typing import Any

import torch
from torch import Tensor

from vilseg_core.ops.information_gradients import launch_backward
from vilseg_core.ops.information_launches import ONE_TILE, SCALARS, joint_parts, launch_finish

_DEVICES = ("cuda", "cpu")
"""On the CPU in Triton's interpreter alone."""


@torch.library.custom_op("vilseg::triton_moments", mutates_args=(), device_types=_DEVICES)
def _moments(
    a: Tensor, b: Tensor, weights: Tensor | None, bits: int
) -> tuple[Tensor, Tensor, Tensor]:
    parts = joint_parts(a, b, weights, bits=bits)
    sums_a, sums_b, low_a, low_b, mass = (x.double() for x in parts[1:6])
    whole_a, whole_b = sums_a + low_a * mass[:, None], sums_b + low_b * mass[:, None]
    moments = a.new_empty(a.shape[0] + 1, a.shape[0] + 1, dtype=torch.float64)
    moments[:-1, :-1] = parts.products.sum(0, dtype=torch.float64)
    moments[:-1, :-1] += low_a.T @ whole_b + sums_a.T @ low_b
    moments[:-1, -1], moments[-1, :-1] = whole_a.sum(0), whole_b.sum(0)
    moments[-1, -1] = mass.sum()
    return moments, torch.cat([parts.lows_a.amin(0), parts.lows_b.amin(0)]), parts.norms


@torch.library.custom_op("vilseg::triton_information", mutates_args=(), device_types=_DEVICES)
def _information(
    a: Tensor,
    b: Tensor,
    weights: Tensor | None,
    entropy_weight: float,
    symmetric: bool,
    bits: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    parts = joint_parts(a, b, weights, bits=bits)
    loss, matrix, lines = launch_finish(parts, entropy_weight=entropy_weight, symmetric=symmetric)
    return loss, matrix, lines, parts.norms


@torch.library.custom_op("vilseg::triton_joint_backward", mutates_args=(), device_types=_DEVICES)
def _joint_backward(
    grad: Tensor,
    matrix: Tensor,
    lines: Tensor,
    norms: Tensor,
    a: Tensor,
    b: Tensor,
    weights: Tensor | None,
    wants_weights: bool,
    bits: int,
) -> tuple[Tensor, Tensor, Tensor]:
    return launch_backward(
        a,
        b,
        grad=grad,
        matrix=matrix,
        lines=lines,
        norms=norms,
        weights=weights,
        wants_weights=wants_weights,
        bits=bits,
    )


def _norms_like(a: Tensor) -> Tensor:
    pixels = a.numel() // a.shape[0] if a.shape[0] > ONE_TILE else 0
    return a.new_empty(2, pixels, 2, dtype=torch.float32)


@_moments.register_fake
def _(a: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    c = a.shape[0]
    lows = a.new_empty(2 * c, dtype=torch.float32)
    return a.new_empty(c + 1, c + 1, dtype=torch.float64), lows, _norms_like(a)


@_information.register_fake
def _(a: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    c = a.shape[0]
    matrix = a.new_empty(c, c, dtype=torch.float32)
    lines = a.new_empty(2 * c + SCALARS, dtype=torch.float32)
    return a.new_empty((), dtype=torch.float32), matrix, lines, _norms_like(a)


@_joint_backward.register_fake
def _(
    _grad: Tensor,
    _matrix: Tensor,
    _lines: Tensor,
    _norms: Tensor,
    a: Tensor,
    b: Tensor,
    _weights: Tensor | None,
    wants_weights: bool,
    _bits: int,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = a.shape[1:] if wants_weights else (0,)
    d_weights = a.new_empty(shape, dtype=torch.float32)
    return torch.empty_like(a), torch.empty_like(b), d_weights


def _save_moments(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    a, b, weights, ctx.bits = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output, a, b, weights)


def _moments_backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    moments, lows, norms, a, b, weights = ctx.saved_tensors
    if grad is None:
        return None, None, None, None
    # As in the chunked path: [p; 1]^T grad [q; 1] = p^T bilinear q + rest, put together in float64,
    # and the mean over pixels taken out of the slopes.
    bilinear = grad[:-1, :-1] + grad[:-1, -1:] + grad[-1:, :-1]
    mass = torch.where(moments[-1, -1] > 0, moments[-1, -1], 1.0)
    mean = (moments[:-1, :-1] * bilinear).sum() / mass
    matrix = bilinear - mean
    rest = (grad[-1, -1] + mean).reshape(1)
    scalars = [rest.new_zeros(1), rest, matrix.abs().amax().reshape(1)]
    lines = torch.cat([lows, *scalars]).float()
    wanted = ctx.needs_input_grad[2]
    d_a, d_b, d_weights = _joint_backward(
        lines.new_ones(()), matrix.float(), lines, norms, a, b, weights, wanted, ctx.bits
    )
    return d_a, d_b, d_weights if wanted else None, None


def _save_information(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    a, b, weights, _, _, ctx.bits = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:], a, b, weights)


def _information_backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 6
    wanted = ctx.needs_input_grad[2]
    d_a, d_b, d_weights = _joint_backward(grad, *ctx.saved_tensors, wanted, ctx.bits)
    return d_a, d_b, d_weights if wanted else None, None, None, None


_moments.register_autograd(_moments_backward, setup_context=_save_moments)
_information.register_autograd(_information_backward, setup_context=_save_information)


def _channels_first(
    logits_a: Tensor, logits_b: Tensor, weights: Tensor | None, channel_dim: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    a, b = logits_a.movedim(channel_dim, 0), logits_b.movedim(channel_dim, 0)
    return a, b, None if weights is None else weights.float().reshape(a.shape[1:])


def moments(
    logits_a: Tensor,
    logits_b: Tensor,
    *,
    channel_dim: int,
    weights: Tensor | None,
    bits: int = 0,
) -> Tensor:
    """Sum over pixels of w [p; 1] [q; 1]^T, where p and q are the softmaxes of the two logits.

    Args:
        logits_a: logits with c channels along `channel_dim`; float32, float16 or bfloat16, any
            strides, read in place.
        logits_b: the same shape.
        channel_dim: the dimension of the clusters, counted from 0.
        weights: one weight >= 0 a pixel in their order, or None for 1.
        bits: of each operand of the products: 11 or 22; 0 means 22 where both logits are float32
            and `torch.get_float32_matmul_precision()` is `"highest"`, else 11.

    Returns:
        (c + 1, c + 1), float64, with gradients of first order only.
    """
    a, b, weights = _channels_first(logits_a, logits_b, weights, channel_dim)
    found: Tensor = _moments(a, b, weights, bits)[0]
    return found


def information(
    logits_a: Tensor,
    logits_b: Tensor,
    *,
    channel_dim: int,
    weights: Tensor | None,
    entropy_weight: float,
    symmetric: bool,
    bits: int = 0,
) -> Tensor:
    """Minus the mutual information of the joint of two assignments, in nats (Eq. 8).

    Equal to `functional.mutual_information_loss`; loss and gradient take three kernels where
    c <= 128.

    Args:
        logits_a: as in `moments`, like `logits_b`, `channel_dim`, `weights` and `bits`.
        logits_b: see `logits_a`.
        channel_dim: see `logits_a`.
        weights: see `logits_a`.
        entropy_weight: weight of the entropies of the two marginals; 1 is Eq. 8.
        symmetric: whether the joint is replaced by its mean with its transpose.
        bits: see `logits_a`.

    Returns:
        0-d tensor, float32, with gradients of first order only.
    """
    a, b, weights = _channels_first(logits_a, logits_b, weights, channel_dim)
    found: Tensor = _information(a, b, weights, entropy_weight, symmetric, bits)[0]
    return found
