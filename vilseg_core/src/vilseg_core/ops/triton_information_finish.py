"""The kernel between joint and backward: merges the parts; loss and its gradient in the joint.

Parts are few and their joints small, so all of it is float64: the joint is exact where a cell is
all but empty, and its excess over independence where it is all but 0.
"""

import triton
import triton.language as tl

from vilseg_core.ops.triton_tiles import SMALLEST

# A cell whose share is below this part of its share under independence is an empty one; as in the
# reference.
EMPTY = tl.constexpr(2.0**-52)


@triton.jit
def log_terms(x, ratio):
    """ln(ratio) and ratio ln(ratio) - x for x = ratio - 1, to relative precision at x near 0.

    Near 0 by the series of ln((1 + s) / (1 - s)) at s = x / (2 + x), in which nothing cancels.
    """
    near = tl.abs(x) < 0.5
    s = tl.where(near, x / (2.0 + x), 0.0)
    square = s * s
    # |s| < 1/3: the first term left out is below 2^-26 of the sum.
    series = 1.0 / 13.0 + square * (1.0 / 15.0)
    series = 1.0 / 9.0 + square * (1.0 / 11.0 + square * series)
    series = 1.0 / 3.0 + square * (1.0 / 5.0 + square * (1.0 / 7.0 + square * series))
    direct = tl.log(ratio)
    log = tl.where(near, 2.0 * s * (1.0 + square * series), direct)
    close = 2.0 * square * (1.0 + s * (1.0 + s) * series) / (1.0 - s)
    return log, tl.where(near, close, ratio * direct - x)


@triton.jit
def _marginals(sums, lows, masses, parts, clusters, C: tl.constexpr, PARTS: tl.constexpr):
    """Of some clusters of one side: their share (1 / c without mass), smallest offset; the mass."""
    total = tl.zeros(clusters.shape, tl.float64)
    low = tl.full(clusters.shape, 1.0, tl.float32)
    mass = tl.zeros((PARTS,), tl.float64)
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)
        there = part < parts
        weight = tl.load(masses + part, mask=there, other=0.0).to(tl.float64)
        at, mask = part[:, None] * C + clusters[None, :], there[:, None] & (clusters < C)[None, :]
        offsets = tl.load(lows + at, mask=mask, other=1.0)
        low = tl.minimum(low, tl.min(offsets, 0))
        above = tl.load(sums + at, mask=mask, other=0.0).to(tl.float64)
        total += tl.sum(above + offsets * weight[:, None], 0)
        mass += weight
    mass = tl.sum(mass, 0)
    # A mass that is not a number is not an empty one, and shows.
    share = tl.where(mass <= 0.0, 1.0 / C, total / tl.maximum(mass, SMALLEST))
    return tl.where(clusters < C, share, 0.0), low, mass


@triton.jit
def _joint(
    products,
    sums_a,
    sums_b,
    lows_a,
    lows_b,
    masses,
    parts,
    rows,
    columns,
    C: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Sum over all pixels of w p q^T for some cells of the joint."""
    valid_rows, valid_columns = rows < C, columns < C
    cells = rows[:, None] * C + columns[None, :]
    valid = valid_rows[:, None] & valid_columns[None, :]
    total = tl.zeros((PARTS, rows.shape[0], columns.shape[0]), tl.float64)
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)
        there = part < parts
        weight = tl.load(masses + part, mask=there, other=0.0).to(tl.float64)
        at, mask = part[:, None] * C + rows[None, :], there[:, None] & valid_rows[None, :]
        above_a = tl.load(sums_a + at, mask=mask, other=0.0).to(tl.float64)
        low_a = tl.load(lows_a + at, mask=mask, other=0.0).to(tl.float64)
        at, mask = part[:, None] * C + columns[None, :], there[:, None] & valid_columns[None, :]
        above_b = tl.load(sums_b + at, mask=mask, other=0.0).to(tl.float64)
        low_b = tl.load(lows_b + at, mask=mask, other=0.0).to(tl.float64)
        whole_b = above_b + low_b * weight[:, None]
        total += low_a[:, :, None] * whole_b[:, None, :]
        total += above_a[:, :, None] * low_b[:, None, :]
        at, mask = (
            part[:, None, None] * (C * C) + cells[None, :, :],
            there[:, None, None] & valid[None, :, :],
        )
        total += tl.load(products + at, mask=mask, other=0.0).to(tl.float64)
    return tl.sum(total, 0)


@triton.jit
def finish_information(
    products,
    sums_a,
    sums_b,
    lows_a,
    lows_b,
    masses,
    counter,
    scratch,
    matrix,
    low_a,
    low_b,
    loss,
    scalars,
    parts,
    entropy_weight,
    C: tl.constexpr,
    SIDE: tl.constexpr,
    PARTS: tl.constexpr,
    SYMMETRIC: tl.constexpr,
    PROGRAMS: tl.constexpr,
):
    """A (SIDE, SIDE) block of `matrix` = d loss / d joint / mass; the last program: the loss.

    `scratch` (3, programs) takes information, entropies and largest entry of each block. The
    program that finishes last adds them, always in the same order; the counter elects it. `scalars`
    are what brings the mean of p^T `matrix` q over pixels to 0, a 0, and a bound on the entries.
    """
    blocks: tl.constexpr = (C + SIDE - 1) // SIDE
    number = tl.program_id(0)
    rows = (number // blocks) * SIDE + tl.arange(0, SIDE)
    columns = (number % blocks) * SIDE + tl.arange(0, SIDE)
    valid_rows, valid_columns = rows < C, columns < C
    p, low, mass = _marginals(sums_a, lows_a, masses, parts, rows, C, PARTS)
    if number % blocks == 0:
        tl.store(low_a + rows, low, mask=valid_rows)
    q, low, _ = _marginals(sums_b, lows_b, masses, parts, columns, C, PARTS)
    if number // blocks == 0:
        tl.store(low_b + columns, low, mask=valid_columns)
    joint = _joint(products, sums_a, sums_b, lows_a, lows_b, masses, parts, rows, columns, C, PARTS)
    if SYMMETRIC:
        other_p, _, _ = _marginals(sums_a, lows_a, masses, parts, columns, C, PARTS)
        other_q, _, _ = _marginals(sums_b, lows_b, masses, parts, rows, C, PARTS)
        mirrored = _joint(
            products, sums_a, sums_b, lows_a, lows_b, masses, parts, columns, rows, C, PARTS
        )
        joint = (joint + tl.trans(mirrored)) * 0.5
        p, q = (p + other_q) * 0.5, (other_p + q) * 0.5
    none = mass <= 0.0
    divisor = tl.where(none, 1.0, mass)
    ratio = joint / divisor / tl.maximum(p, SMALLEST)[:, None] / tl.maximum(q, SMALLEST)[None, :]
    ratio = tl.where(none, 1.0, ratio)
    excess, empty = (ratio - 1.0).to(tl.float32), ratio < EMPTY
    log, gain = log_terms(excess, tl.maximum(ratio, EMPTY).to(tl.float32))
    gain = tl.where(empty, ratio.to(tl.float32) * log - excess, gain)
    information = tl.sum(tl.sum(p[:, None] * q[None, :] * gain, 1), 0)
    log_p = tl.log(tl.maximum(p, SMALLEST).to(tl.float32))
    log_q = tl.log(tl.maximum(q, SMALLEST).to(tl.float32))
    entropies = -tl.where(number % blocks == 0, tl.sum(p * log_p, 0), 0.0)
    entropies -= tl.where(number // blocks == 0, tl.sum(q * log_q, 0), 0.0)
    # Moved by ln C, a constant, to be near 0 where the clusters are balanced.
    uniform = tl.log(1.0 * C)
    gradient = log - tl.where(empty, 1.0, 0.0)
    gradient -= (entropy_weight - 1.0) * ((log_p + uniform)[:, None] + (log_q + uniform)[None, :])
    gradient = tl.where(none, 0.0, -gradient / divisor)
    valid = valid_rows[:, None] & valid_columns[None, :]
    gradient = tl.where(valid, gradient, 0.0).to(tl.float32)
    tl.store(matrix + rows[:, None] * C + columns[None, :], gradient, mask=valid)
    tl.store(scratch + number, information)
    tl.store(scratch + PROGRAMS + number, entropies)
    tl.store(scratch + 2 * PROGRAMS + number, tl.max(tl.max(tl.abs(gradient), 1), 0))
    tl.debug_barrier()
    if tl.atomic_add(counter, 1, sem="acq_rel") == tl.num_programs(0) - 1:
        tl.debug_barrier()
        program = tl.arange(0, PROGRAMS)
        there = program < tl.num_programs(0)
        information = tl.sum(tl.load(scratch + program, mask=there, other=0.0), 0)
        entropies = tl.sum(tl.load(scratch + PROGRAMS + program, mask=there, other=0.0), 0)
        largest = tl.max(tl.load(scratch + 2 * PROGRAMS + program, mask=there, other=0.0), 0)
        tl.store(loss, -information - (entropy_weight - 1.0) * entropies)
        mean = -information - (entropy_weight - 1.0) * (entropies - 2.0 * uniform)
        mean = tl.where(none, 0.0, mean / divisor)
        tl.store(scalars, -mean)
        tl.store(scalars + 1, 0.0)
        tl.store(scalars + 2, largest + tl.abs(mean))
