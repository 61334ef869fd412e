"""Kernels for more clusters than one tile of the joint holds: normalisers, values, gradients.

They read the logits by tiles of clusters, so the softmax needs its normalisers, and the softmax
Jacobian its scalar p^T matrix q, each from a pass of its own: few numbers a pixel. Each side has
a scalar of its own rounding: in the Jacobian of a certain pixel it cancels all but the last digits.
"""

import triton
import triton.language as tl

from vilseg_core.ops.triton_tiles import (
    MATRIX_SCALE,
    NEGLIGIBLE,
    SHARE_SCALE,
    assignments,
    load_logits,
    load_weights,
    pixel_numbers,
    pixel_offsets,
    store_gradient,
)


@triton.jit
def normalisers(
    logits,
    norms,
    pixels,
    middle,
    inner,
    outer_stride,
    middle_stride,
    inner_stride,
    channel_stride,
    C: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
    UNIT: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Maximum of the logits of each pixel and the inverse of the sum over clusters: (pixels, 2).

    Two numbers, since their logarithm in one would lose digits where the logits are large.
    """
    numbers, exist = pixel_numbers(tl.program_id(0), pixels, BLOCK, UNIT, WIDE)
    at = pixel_offsets(numbers, middle, inner, outer_stride, middle_stride, inner_stride, UNIT)
    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for first in tl.range(0, C, CHANNELS, num_stages=STAGES):
        channels = first + tl.arange(0, CHANNELS)
        tile = load_logits(logits, at, exist, channels, channel_stride * UNIT, C, WIDE)
        higher = tl.maximum(top, tl.max(tile, 1))
        # A pixel whose logits are all -inf so far has no finite maximum to subtract.
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(top - shift) + tl.sum(tl.exp(tile - shift[:, None]), 1)
        top = higher
    tl.store(norms + 2 * numbers, top, mask=exist)
    tl.store(norms + 2 * numbers + 1, 1.0 / total, mask=exist)


@triton.jit
def _derivative(
    other,
    norms,
    smallest,
    high,
    low,
    largest,
    numbers,
    at,
    exist,
    channels,
    channel_stride,
    C: tl.constexpr,
    CHANNELS: tl.constexpr,
    DEPTH: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
    PRODUCTS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """(q - smallest) matrix^T of some pixels for a tile of clusters of the other side.

    The matrix comes transposed, scaled to fill float16, as the sum of `high` and `low`.
    """
    total = tl.zeros((BLOCK, CHANNELS), tl.float32)
    for first in tl.range(0, C, DEPTH, num_stages=STAGES):
        inner = first + tl.arange(0, DEPTH)
        shares = assignments(other, norms, numbers, at, exist, inner, channel_stride, C, True, WIDE)
        offset = tl.load(smallest + inner, mask=inner < C, other=0.0)
        cells = inner[:, None] * C + channels[None, :]
        valid = (inner < C)[:, None] & (channels < C)[None, :]
        left = (shares - offset[None, :]) * SHARE_SCALE
        left_high = left.to(tl.float16)
        right_high = tl.load(high + cells, mask=valid, other=0.0)
        if PRODUCTS == 3:
            left_low = (left - left_high.to(tl.float32)).to(tl.float16)
            total = tl.dot(left_low, right_high, total)
            right_low = tl.load(low + cells, mask=valid, other=0.0)
            total = tl.dot(left_high, right_low, total)
        total = tl.dot(left_high, right_high, total)
    return total * (tl.maximum(tl.load(largest), NEGLIGIBLE) / (MATRIX_SCALE * SHARE_SCALE))


@triton.jit
def pixel_values(
    own,
    other,
    own_norms,
    other_norms,
    high,
    low,
    line,
    low_other,
    largest,
    values,
    pixels,
    middle,
    inner,
    own_outer,
    own_middle,
    own_inner,
    own_channel,
    other_outer,
    other_middle,
    other_inner,
    other_channel,
    C: tl.constexpr,
    CHANNELS: tl.constexpr,
    DEPTH: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
    PRODUCTS: tl.constexpr,
    UNIT: tl.constexpr,
    WIDE: tl.constexpr,
):
    """p^T matrix q of each pixel, p being its own side; `line` = matrix times the offset of q."""
    numbers, exist = pixel_numbers(tl.program_id(0), pixels, BLOCK, UNIT, WIDE)
    at = pixel_offsets(numbers, middle, inner, own_outer, own_middle, own_inner, UNIT)
    across = pixel_offsets(numbers, middle, inner, other_outer, other_middle, other_inner, UNIT)
    value = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, C, CHANNELS):
        channels = first + tl.arange(0, CHANNELS)
        derivative = _derivative(
            other,
            other_norms,
            low_other,
            high,
            low,
            largest,
            numbers,
            across,
            exist,
            channels,
            other_channel * UNIT,
            C,
            CHANNELS,
            DEPTH,
            BLOCK,
            STAGES,
            PRODUCTS,
            WIDE,
        )
        derivative += tl.load(line + channels, mask=channels < C, other=0.0)[None, :]
        p = assignments(
            own, own_norms, numbers, at, exist, channels, own_channel * UNIT, C, True, WIDE
        )
        value += tl.sum(p * derivative, 1)
    tl.store(values + numbers, value, mask=exist)


@triton.jit
def side_backward(
    own,
    other,
    weights,
    own_norms,
    other_norms,
    high,
    low,
    line,
    low_other,
    largest,
    values,
    grad,
    d_own,
    pixels,
    middle,
    inner,
    own_outer,
    own_middle,
    own_inner,
    own_channel,
    other_outer,
    other_middle,
    other_inner,
    other_channel,
    w_outer,
    w_middle,
    w_inner,
    d_outer,
    d_middle,
    d_inner,
    d_channel,
    C: tl.constexpr,
    CHANNELS: tl.constexpr,
    DEPTH: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
    PRODUCTS: tl.constexpr,
    UNIT: tl.constexpr,
    WIDE: tl.constexpr,
    WEIGHTED: tl.constexpr,
):
    """Gradient of w p^T `matrix` q in the logits of p, a tile of clusters a program.

    Programs: (tiles of clusters, tiles of pixels); those of the same pixels follow one another, so
    that all but the first find the other side's logits in the cache.
    """
    channels = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    numbers, exist = pixel_numbers(tl.program_id(1), pixels, BLOCK, UNIT, WIDE)
    at = pixel_offsets(numbers, middle, inner, other_outer, other_middle, other_inner, UNIT)
    derivative = _derivative(
        other,
        other_norms,
        low_other,
        high,
        low,
        largest,
        numbers,
        at,
        exist,
        channels,
        other_channel * UNIT,
        C,
        CHANNELS,
        DEPTH,
        BLOCK,
        STAGES,
        PRODUCTS,
        WIDE,
    )
    derivative += tl.load(line + channels, mask=channels < C, other=0.0)[None, :]
    derivative -= tl.load(values + numbers, mask=exist, other=0.0)[:, None]
    at = pixel_offsets(numbers, middle, inner, own_outer, own_middle, own_inner, UNIT)
    p = assignments(own, own_norms, numbers, at, exist, channels, own_channel * UNIT, C, True, WIDE)
    w = load_weights(
        weights, numbers, exist, middle, inner, w_outer, w_middle, w_inner, UNIT, WEIGHTED
    )
    at = pixel_offsets(numbers, middle, inner, d_outer, d_middle, d_inner, UNIT)
    derivative *= p * (w * tl.load(grad))[:, None]
    store_gradient(d_own, at, exist, channels, d_channel * UNIT, derivative, C, WIDE)
