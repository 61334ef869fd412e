"""The kernel between joint and backward: merges the parts; loss and its gradient in the joint."""

import triton
import triton.language as tl

from vilseg_core.ops.triton_tiles import SMALLEST

# An excess below this is an empty cell of the joint; as in the reference.
EMPTY = tl.constexpr(2.0**-23 - 1.0)


@triton.jit
def log_terms(x):
    """ln(1 + x) and (1 + x) ln(1 + x) - x for x > -1, to relative precision at x near 0.

    Near 0 by the series of ln((1 + s) / (1 - s)) at s = x / (2 + x), in which nothing cancels.
    """
    near = tl.abs(x) < 0.5
    s = tl.where(near, x / (2.0 + x), 0.0)
    square = s * s
    # |s| < 1/3: the first term left out is below 2^-26 of the sum.
    series = 1.0 / 13.0 + square * (1.0 / 15.0)
    series = 1.0 / 9.0 + square * (1.0 / 11.0 + square * series)
    series = 1.0 / 3.0 + square * (1.0 / 5.0 + square * (1.0 / 7.0 + square * series))
    direct = tl.log(1.0 + x)
    log = tl.where(near, 2.0 * s * (1.0 + square * series), direct)
    close = 2.0 * square * (1.0 + s * (1.0 + s) * series) / (1.0 - s)
    return log, tl.where(near, close, (1.0 + x) * direct - x)


@triton.jit
def _means(means_a, means_b, masses, parts, rows, columns, C: tl.constexpr, PARTS: tl.constexpr):
    """Merged means of some clusters of either side (uniform where there is no mass), the mass."""
    p = tl.zeros(rows.shape, tl.float32)
    q = tl.zeros(columns.shape, tl.float32)
    mass = 0.0
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)
        there = part < parts
        share = tl.load(masses + part, mask=there, other=0.0)
        at, mask = part[:, None] * C + rows[None, :], there[:, None] & (rows < C)[None, :]
        p += tl.sum(tl.load(means_a + at, mask=mask, other=0.0) * share[:, None], 0)
        at, mask = part[:, None] * C + columns[None, :], there[:, None] & (columns < C)[None, :]
        q += tl.sum(tl.load(means_b + at, mask=mask, other=0.0) * share[:, None], 0)
        mass += tl.sum(share, 0)
    # A mass that is not a number is not an empty one, and shows.
    none, divisor = mass <= 0.0, tl.maximum(mass, SMALLEST)
    p = tl.where(rows < C, tl.where(none, 1.0 / C, p / divisor), 0.0)
    return p, tl.where(columns < C, tl.where(none, 1.0 / C, q / divisor), 0.0), mass


@triton.jit
def _covariance(
    covariances,
    means_a,
    means_b,
    masses,
    parts,
    rows,
    columns,
    mean_rows,
    mean_columns,
    C: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Sum over parts of their covariance and the distance of their means from the merged ones."""
    valid_rows, valid_columns = rows < C, columns < C
    cells = rows[:, None] * C + columns[None, :]
    valid = valid_rows[:, None] & valid_columns[None, :]
    total = tl.zeros((PARTS, rows.shape[0], columns.shape[0]), tl.float32)
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)
        there = part < parts
        share = tl.load(masses + part, mask=there, other=0.0)
        place, mask = part[:, None] * C + rows[None, :], there[:, None] & valid_rows[None, :]
        left = tl.load(means_a + place, mask=mask, other=0.0) - mean_rows[None, :]
        place, mask = part[:, None] * C + columns[None, :], there[:, None] & valid_columns[None, :]
        right = tl.load(means_b + place, mask=mask, other=0.0) - mean_columns[None, :]
        total += (left * share[:, None])[:, :, None] * right[:, None, :]
        place, mask = (
            part[:, None, None] * (C * C) + cells[None, :, :],
            there[:, None, None] & valid[None, :, :],
        )
        total += tl.load(covariances + place, mask=mask, other=0.0)
    return tl.sum(total, 0)


@triton.jit
def finish_information(
    covariances,
    means_a,
    means_b,
    masses,
    counter,
    scratch,
    matrix,
    mean_a,
    mean_b,
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
    program that finishes last adds them, always in the same order; the counter elects it.
    """
    blocks: tl.constexpr = (C + SIDE - 1) // SIDE
    number = tl.program_id(0)
    rows = (number // blocks) * SIDE + tl.arange(0, SIDE)
    columns = (number % blocks) * SIDE + tl.arange(0, SIDE)
    valid_rows, valid_columns = rows < C, columns < C
    p, q, mass = _means(means_a, means_b, masses, parts, rows, columns, C, PARTS)
    if number % blocks == 0:
        tl.store(mean_a + rows, p, mask=valid_rows)
    if number // blocks == 0:
        tl.store(mean_b + columns, q, mask=valid_columns)
    divisor = tl.where(mass <= 0.0, 1.0, mass)
    excess = _covariance(
        covariances, means_a, means_b, masses, parts, rows, columns, p, q, C, PARTS
    )
    if SYMMETRIC:
        other_p, other_q, _ = _means(means_a, means_b, masses, parts, columns, rows, C, PARTS)
        mirrored = _covariance(
            covariances, means_a, means_b, masses, parts, columns, rows, other_p, other_q, C, PARTS
        )
        excess = (excess + tl.trans(mirrored)) * (0.5 / divisor)
        excess -= ((p - other_q) * 0.5)[:, None] * ((other_p - q) * 0.5)[None, :]
        p, q = (p + other_q) * 0.5, (other_p + q) * 0.5
    else:
        excess = excess / divisor
    excess = excess / tl.maximum(p, SMALLEST)[:, None] / tl.maximum(q, SMALLEST)[None, :]
    log, gain = log_terms(tl.maximum(excess, EMPTY))
    gain = tl.where(excess < EMPTY, (1.0 + excess) * log - excess, gain)
    information = tl.sum(tl.sum(p[:, None] * q[None, :] * gain, 1), 0)
    log_p, log_q = tl.log(tl.maximum(p, SMALLEST)), tl.log(tl.maximum(q, SMALLEST))
    entropies = -tl.where(number % blocks == 0, tl.sum(p * log_p, 0), 0.0)
    entropies -= tl.where(number // blocks == 0, tl.sum(q * log_q, 0), 0.0)
    # Moved by ln C, a constant, to be near 0 where the clusters are balanced.
    uniform = tl.log(1.0 * C)
    gradient = log - tl.where(excess < EMPTY, 1.0, 0.0)
    gradient -= (entropy_weight - 1.0) * ((log_p + uniform)[:, None] + (log_q + uniform)[None, :])
    gradient = tl.where(mass <= 0.0, 0.0, -gradient / divisor)
    valid = valid_rows[:, None] & valid_columns[None, :]
    gradient = tl.where(valid, gradient, 0.0)
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
        rest = information + (entropy_weight - 1.0) * (entropies - 2.0 * uniform)
        tl.store(scalars, tl.where(mass <= 0.0, 0.0, rest / divisor))
        tl.store(scalars + 1, largest)
