"""Kernels of the mutual information: joint, loss with its gradient in the joint, backward.

c = clusters; p, q = softmax of the two logits of a pixel; J = mean of p q^T over pixels = outer
product of the marginals + D. No sum of floats goes through an atomic: bits do not depend on timing.
"""

import triton
import triton.language as tl

from vilseg_core.ops.triton_tiles import (
    MATRIX_SCALE,
    NEGLIGIBLE,
    SHARE_SCALE,
    SMALLEST,
    assignments,
    first_offsets,
    load_logits,
    load_weights,
    pixel_numbers,
    pixel_offsets,
    product,
    softmax,
    store_gradient,
)


@triton.jit
def joint_partials(
    a,
    b,
    weights,
    norms_a,
    norms_b,
    products,
    sums_a,
    sums_b,
    lows_a,
    lows_b,
    masses,
    counter,
    pixels,
    middle,
    inner,
    a_outer,
    a_middle,
    a_inner,
    a_channel,
    b_outer,
    b_middle,
    b_inner,
    b_channel,
    w_outer,
    w_middle,
    w_inner,
    C: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
    PRODUCTS: tl.constexpr,
    UNIT: tl.constexpr,
    WIDE: tl.constexpr,
    WEIGHTED: tl.constexpr,
):
    """Products, sums and mass of one part of the pixels, for one tile of the joint.

    Programs: (tiles of the joint, parts). Each takes off its shares the `first_offsets` of its own
    first tile that has any weight, and leaves these beside what it has summed. A part without
    weight leaves 1, which is no cluster's smallest.
    """
    side: tl.constexpr = (C + CHANNELS - 1) // CHANNELS
    TILED: tl.constexpr = side > 1
    channels_a = (tl.program_id(0) // side) * CHANNELS + tl.arange(0, CHANNELS)
    channels_b = (tl.program_id(0) % side) * CHANNELS + tl.arange(0, CHANNELS)
    part = tl.program_id(1)
    if tl.program_id(0) + part == 0:
        tl.store(counter, 0)
    second = tl.zeros((CHANNELS, CHANNELS), tl.float32)
    sum_a = tl.zeros((BLOCK, CHANNELS), tl.float32)
    sum_b = tl.zeros((BLOCK, CHANNELS), tl.float32)
    low_a = tl.full((CHANNELS,), 1.0, tl.float32)
    low_b = tl.full((CHANNELS,), 1.0, tl.float32)
    mass = 0.0
    heaviest = SMALLEST
    for tile in tl.range(
        part, tl.cdiv(pixels * UNIT, BLOCK), tl.num_programs(1), num_stages=STAGES
    ):
        numbers, exist = pixel_numbers(tile, pixels, BLOCK, UNIT, WIDE)
        places = pixel_offsets(numbers, middle, inner, a_outer, a_middle, a_inner, UNIT)
        p = assignments(
            a, norms_a, numbers, places, exist, channels_a, a_channel * UNIT, C, TILED, WIDE
        )
        places = pixel_offsets(numbers, middle, inner, b_outer, b_middle, b_inner, UNIT)
        q = assignments(
            b, norms_b, numbers, places, exist, channels_b, b_channel * UNIT, C, TILED, WIDE
        )
        w = load_weights(
            weights, numbers, exist, middle, inner, w_outer, w_middle, w_inner, UNIT, WEIGHTED
        )
        tile_mass = tl.sum(w, 0)
        if mass == 0.0:
            low_a = first_offsets(p, w, tile_mass, PRODUCTS)
            low_b = first_offsets(q, w, tile_mass, PRODUCTS)
        mass += tile_mass
        p -= low_a[None, :]
        q -= low_b[None, :]
        sum_a += p * w[:, None]
        sum_b += q * w[:, None]
        if WEIGHTED:
            # The weighted operand stays within float16 whatever the weights are.
            heavier = tl.maximum(heaviest, tl.max(w, 0))
            second *= heaviest / heavier
            heaviest = heavier
            w = w / heavier
        left = tl.trans(p * (w * SHARE_SCALE)[:, None])
        second = product(left, q * SHARE_SCALE, second, PRODUCTS)
    second *= 1.0 / (SHARE_SCALE * SHARE_SCALE)
    if WEIGHTED:
        second *= heaviest
    valid_a, valid_b = channels_a < C, channels_b < C
    cells = (part * C + channels_a)[:, None] * C + channels_b[None, :]
    tl.store(products + cells, second, mask=valid_a[:, None] & valid_b[None, :])
    # All tiles of the joint find the same sums; the first row and column of tiles write them.
    if tl.program_id(0) % side == 0:
        tl.store(sums_a + part * C + channels_a, tl.sum(sum_a, 0), mask=valid_a)
        tl.store(lows_a + part * C + channels_a, low_a, mask=valid_a)
    if tl.program_id(0) // side == 0:
        tl.store(sums_b + part * C + channels_b, tl.sum(sum_b, 0), mask=valid_b)
        tl.store(lows_b + part * C + channels_b, low_b, mask=valid_b)
    if tl.program_id(0) == 0:
        tl.store(masses + part, mass)


@triton.jit
def information_backward(
    a,
    b,
    weights,
    matrix,
    low_a,
    low_b,
    shift,
    rest,
    largest,
    grad,
    d_a,
    d_b,
    d_weights,
    pixels,
    middle,
    inner,
    a_outer,
    a_middle,
    a_inner,
    a_channel,
    b_outer,
    b_middle,
    b_inner,
    b_channel,
    w_outer,
    w_middle,
    w_inner,
    da_outer,
    da_middle,
    da_inner,
    da_channel,
    db_outer,
    db_middle,
    db_inner,
    db_channel,
    C: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
    PRODUCTS: tl.constexpr,
    UNIT: tl.constexpr,
    WIDE: tl.constexpr,
    WEIGHTED: tl.constexpr,
    WANTS_WEIGHTS: tl.constexpr,
):
    """Gradients of w (p^T (`matrix` + `shift`) q + `rest`), where one tile holds the joint.

    The products take the shares less `low_a` and `low_b`, the smallest offsets of their clusters;
    what these add is the same for all pixels and is kept in float32.
    """
    channels = tl.arange(0, CHANNELS)
    valid = channels < C
    cells = tl.load(
        matrix + channels[:, None] * C + channels[None, :],
        mask=valid[:, None] & valid[None, :],
        other=0.0,
    )
    cells = tl.where(valid[:, None] & valid[None, :], cells + tl.load(shift), 0.0)
    offset_a = tl.load(low_a + channels, mask=valid, other=0.0)
    offset_b = tl.load(low_b + channels, mask=valid, other=0.0)
    line_a = tl.sum(cells * offset_b[None, :], 1)
    line_b = tl.sum(cells * offset_a[:, None], 0)
    top = tl.maximum(tl.load(largest), NEGLIGIBLE)
    cells = cells * (MATRIX_SCALE / top)
    unscale = top / (MATRIX_SCALE * SHARE_SCALE)
    factor = tl.load(grad)
    constant = tl.load(rest)
    for tile in tl.range(
        tl.program_id(0), tl.cdiv(pixels * UNIT, BLOCK), tl.num_programs(0), num_stages=STAGES
    ):
        numbers, exist = pixel_numbers(tile, pixels, BLOCK, UNIT, WIDE)
        at = pixel_offsets(numbers, middle, inner, a_outer, a_middle, a_inner, UNIT)
        p = softmax(load_logits(a, at, exist, channels, a_channel * UNIT, C, WIDE))
        at = pixel_offsets(numbers, middle, inner, b_outer, b_middle, b_inner, UNIT)
        q = softmax(load_logits(b, at, exist, channels, b_channel * UNIT, C, WIDE))
        w = load_weights(
            weights, numbers, exist, middle, inner, w_outer, w_middle, w_inner, UNIT, WEIGHTED
        )
        none = tl.zeros((BLOCK, CHANNELS), tl.float32)
        above = (q - offset_b[None, :]) * SHARE_SCALE
        d_p = product(above, tl.trans(cells), none, PRODUCTS) * unscale + line_a[None, :]
        value = tl.sum(p * d_p, 1)
        if WANTS_WEIGHTS:
            tl.store(d_weights + numbers, (value + constant) * factor, mask=exist)
        at = pixel_offsets(numbers, middle, inner, da_outer, da_middle, da_inner, UNIT)
        d_p = p * (d_p - value[:, None]) * (w * factor)[:, None]
        store_gradient(d_a, at, exist, channels, da_channel * UNIT, d_p, C, WIDE)
        above = (p - offset_a[None, :]) * SHARE_SCALE
        d_q = product(above, cells, none, PRODUCTS) * unscale + line_b[None, :]
        value = tl.sum(q * d_q, 1)
        at = pixel_offsets(numbers, middle, inner, db_outer, db_middle, db_inner, UNIT)
        d_q = q * (d_q - value[:, None]) * (w * factor)[:, None]
        store_gradient(d_b, at, exist, channels, db_channel * UNIT, d_q, C, WIDE)
