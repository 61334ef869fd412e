"""Kernels of the mutual information: joint, loss with its gradient in the joint, backward.

c = clusters; p, q = softmax of the two logits of a pixel; J = mean of p q^T over pixels = outer
product of the marginals + D. No sum of floats goes through an atomic: bits do not depend on timing.
"""

import triton
import triton.language as tl

from vilseg_core.ops.triton_tiles import (
    CENTRED_SCALE,
    MATRIX_SCALE,
    NEGLIGIBLE,
    SMALLEST,
    assignments,
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
    covariances,
    means_a,
    means_b,
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
    """Centred second moment, means and mass of one part of the pixels, for one tile of the joint.

    Programs: (tiles of the joint, parts). Each centres its pixels at the mean of its own first
    tile that has any weight, and takes out what is left of its mean at the end.
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
    pivot_a = tl.zeros((CHANNELS,), tl.float32)
    pivot_b = tl.zeros((CHANNELS,), tl.float32)
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
            share = w / tl.maximum(tile_mass, SMALLEST)
            pivot_a = tl.sum(p * share[:, None], 0)
            pivot_b = tl.sum(q * share[:, None], 0)
        mass += tile_mass
        p -= pivot_a[None, :]
        q -= pivot_b[None, :]
        sum_a += p * w[:, None]
        sum_b += q * w[:, None]
        if WEIGHTED:
            # The weighted operand stays within float16 whatever the weights are.
            heavier = tl.maximum(heaviest, tl.max(w, 0))
            second *= heaviest / heavier
            heaviest = heavier
            w = w / heavier
        left = tl.trans(p * (w * CENTRED_SCALE)[:, None])
        second = product(left, q * CENTRED_SCALE, second, PRODUCTS)
    second *= 1.0 / (CENTRED_SCALE * CENTRED_SCALE)
    if WEIGHTED:
        second *= heaviest
    total_a, total_b = tl.sum(sum_a, 0), tl.sum(sum_b, 0)
    share_a = total_a / tl.maximum(mass, SMALLEST)
    share_b = total_b / tl.maximum(mass, SMALLEST)
    second -= total_a[:, None] * share_b[None, :]
    valid_a, valid_b = channels_a < C, channels_b < C
    cells = (part * C + channels_a)[:, None] * C + channels_b[None, :]
    tl.store(covariances + cells, second, mask=valid_a[:, None] & valid_b[None, :])
    # All tiles of the joint find the same means; the first row and column of tiles write them.
    if tl.program_id(0) % side == 0:
        tl.store(means_a + part * C + channels_a, pivot_a + share_a, mask=valid_a)
    if tl.program_id(0) // side == 0:
        tl.store(means_b + part * C + channels_b, pivot_b + share_b, mask=valid_b)
    if tl.program_id(0) == 0:
        tl.store(masses + part, mass)


@triton.jit
def information_backward(
    a,
    b,
    weights,
    matrix,
    mean_a,
    mean_b,
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
    """Gradients of w (p^T `matrix` q + `rest`), summed over pixels, where one tile holds the joint.

    The products take the probabilities centred at their means; what the means add is the same for
    all pixels and is kept in float32.
    """
    channels = tl.arange(0, CHANNELS)
    valid = channels < C
    cells = tl.load(
        matrix + channels[:, None] * C + channels[None, :],
        mask=valid[:, None] & valid[None, :],
        other=0.0,
    )
    centre_a = tl.load(mean_a + channels, mask=valid, other=0.0)
    centre_b = tl.load(mean_b + channels, mask=valid, other=0.0)
    line_a = tl.sum(cells * centre_b[None, :], 1)
    line_b = tl.sum(cells * centre_a[:, None], 0)
    top = tl.maximum(tl.load(largest), NEGLIGIBLE)
    cells = cells * (MATRIX_SCALE / top)
    unscale = top / (MATRIX_SCALE * CENTRED_SCALE)
    factor = tl.load(grad)
    offset = tl.load(rest)
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
        centred = (q - centre_b[None, :]) * CENTRED_SCALE
        d_p = product(centred, tl.trans(cells), none, PRODUCTS) * unscale + line_a[None, :]
        value = tl.sum(p * d_p, 1)
        if WANTS_WEIGHTS:
            tl.store(d_weights + numbers, (value + offset) * factor, mask=exist)
        at = pixel_offsets(numbers, middle, inner, da_outer, da_middle, da_inner, UNIT)
        d_p = p * (d_p - value[:, None]) * (w * factor)[:, None]
        store_gradient(d_a, at, exist, channels, da_channel * UNIT, d_p, C, WIDE)
        centred = (p - centre_a[None, :]) * CENTRED_SCALE
        d_q = product(centred, cells, none, PRODUCTS) * unscale + line_b[None, :]
        value = tl.sum(q * d_q, 1)
        at = pixel_offsets(numbers, middle, inner, db_outer, db_middle, db_inner, UNIT)
        d_q = q * (d_q - value[:, None]) * (w * factor)[:, None]
        store_gradient(d_b, at, exist, channels, db_channel * UNIT, d_q, C, WIDE)
