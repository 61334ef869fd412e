"""Kernels of InfoNCE: norms, score tiles, their merge, weights of a chunk, and the way back.

r = rows (images), c = columns (texts), d = embedding dimension, all nats. The partner of row i is
column first + i. A score is a cosine times the scale; `inverse` holds 1 / norm of the r rows and
after them of the c columns. Rows beyond the last are read as the last and masked in what is kept,
so that no load of the inner loop needs a mask for them.
"""

import triton
import triton.language as tl

LOWEST = tl.constexpr(-3.4028234663852886e38)
"""Of float32, not -inf: a row without a wrong partner has nothing to sum and leaves no nan."""
SHORTEST = tl.constexpr(1e-12)
"""Rows shorter than this are divided by it, as torch.nn.functional.normalize does."""
TOGETHER = tl.constexpr(60.0)
"""Nats within which the scores of a tile may share one exponent: float32 holds e^-60 with all its
digits, and what is lost below is less than e^-27 of what is kept."""


@triton.jit
def _inverse_norms(
    source, inverse, block, count, width, row_stride, stride, ROWS: tl.constexpr, STEP: tl.constexpr
):
    rows = block * ROWS + tl.arange(0, ROWS)
    steps = tl.arange(0, STEP)
    starts = source + rows.to(tl.int64)[:, None] * row_stride
    total = tl.zeros((ROWS,), tl.float32)
    for start in range(0, width, STEP):
        places = (start + steps).to(tl.int64)[None, :]
        inside = (rows < count)[:, None] & (places < width)
        values = tl.load(starts + places * stride, mask=inside, other=0.0).to(tl.float32)
        total += tl.sum(values * values, axis=1)
    norms = tl.maximum(tl.sqrt(total), SHORTEST)
    tl.store(inverse + rows, 1.0 / norms, mask=rows < count)


@triton.jit
def norms_kernel(
    image,
    text,
    inverse,
    rows,
    columns,
    width,
    image_row,
    image_stride,
    text_row,
    text_stride,
    ROWS: tl.constexpr,
    STEP: tl.constexpr,
):
    """1 / norm of every row of both towers."""
    block = tl.program_id(0)
    blocks = tl.cdiv(rows, ROWS)
    if block < blocks:
        _inverse_norms(image, inverse, block, rows, width, image_row, image_stride, ROWS, STEP)
    else:
        block -= blocks
        inverse += rows
        _inverse_norms(text, inverse, block, columns, width, text_row, text_stride, ROWS, STEP)


@triton.jit
def tile_cosines(
    image,
    text,
    inverse,
    rows,
    columns,
    row_count,
    column_count,
    width,
    image_row,
    image_stride,
    text_row,
    text_stride,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STEP: tl.constexpr,
    EVEN: tl.constexpr,
    WIDEN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Cosines of the tile `rows` x `columns`, from products of the rows as they came."""
    rows = tl.minimum(rows, row_count - 1)
    columns = tl.minimum(columns, column_count - 1)
    steps = tl.arange(0, STEP)
    a_starts = image + rows.to(tl.int64)[:, None] * image_row
    b_starts = text + columns.to(tl.int64)[None, :] * text_row
    products = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, width, STEP):
        # From the start each time: places that are carried along cost two registers an element.
        places = (start + steps).to(tl.int64)
        a_places = a_starts + places[None, :] * image_stride
        b_places = b_starts + places[:, None] * text_stride
        if EVEN:
            a = tl.load(a_places)
            b = tl.load(b_places)
        else:
            inside = places < width
            a = tl.load(a_places, mask=inside[None, :], other=0.0)
            b = tl.load(b_places, mask=inside[:, None], other=0.0)
        if WIDEN:
            a = a.to(tl.float32)
            b = b.to(tl.float32)
        products = tl.dot(a, b, products, input_precision=PRECISION)
    by_row = tl.load(inverse + rows)
    by_column = tl.load(inverse + row_count + columns)
    return products * by_row[:, None] * by_column[None, :]


@triton.jit
def scores_kernel(
    image,
    text,
    scale,
    inverse,
    by_row,
    by_column,
    best_by_row,
    best_by_column,
    right,
    row_count,
    column_count,
    first,
    width,
    image_row,
    image_stride,
    text_row,
    text_stride,
    row_blocks,
    share,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STEP: tl.constexpr,
    BY_COLUMN: tl.constexpr,
    BEST: tl.constexpr,
    EVEN: tl.constexpr,
    WIDEN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Log-sum-exp of wrong partners: of rows over a program's columns, of columns over its rows.

    A program has one block of rows and `share` blocks of columns. It writes `by_row[part]`
    (parts, r) and `by_column[block]` (blocks, c), likewise the largest wrong scores where `BEST`,
    and the scores of the right partners that it meets.
    """
    block = tl.program_id(0) % row_blocks
    part = tl.program_id(0) // row_blocks
    rows = block * ROWS + tl.arange(0, ROWS)
    factor = tl.load(scale)
    peak = tl.full((ROWS,), LOWEST, tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    partners = block * ROWS + first
    last = tl.minimum((part + 1) * share * COLUMNS, column_count)
    for start in range(part * share * COLUMNS, last, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        cosines = tile_cosines(
            image, text, inverse, rows, columns, row_count, column_count, width,
            image_row, image_stride, text_row, text_stride,
            ROWS, COLUMNS, STEP, EVEN, WIDEN, PRECISION,
        )  # fmt: skip
        scores = cosines * factor
        highest = tl.max(tl.max(scores, axis=1), axis=0)
        lowest = tl.min(tl.min(scores, axis=1), axis=0)
        meets = (start < partners + ROWS) & (start + COLUMNS > partners)
        edge = (start + COLUMNS > column_count) | ((block + 1) * ROWS > row_count)
        if BEST | meets | edge | (highest - lowest > TOGETHER):
            pairs = columns[None, :] == (rows + first)[:, None]
            inside = (rows < row_count)[:, None] & (columns < column_count)[None, :]
            if meets:
                found = tl.sum(tl.where(pairs, scores, 0.0), axis=1)
                here = (rows + first >= start) & (rows + first < start + COLUMNS)
                tl.store(right + rows, found, mask=here & (rows < row_count))
            scores = tl.where(inside & (pairs == 0), scores, LOWEST)
            tops = tl.maximum(peak, tl.max(scores, axis=1))
            total = total * tl.exp(peak - tops)
            total += tl.sum(tl.exp(scores - tops[:, None]), axis=1)
            peak = tops
            if BY_COLUMN:
                crests = tl.max(scores, axis=0)
                sums = crests + tl.log(tl.sum(tl.exp(scores - crests[None, :]), axis=0))
                spots = block.to(tl.int64) * column_count + columns
                tl.store(by_column + spots, sums, mask=columns < column_count)
                if BEST:
                    tl.store(best_by_column + spots, crests, mask=columns < column_count)
        else:
            powers = tl.exp(scores - highest)
            tops = tl.maximum(peak, highest)
            total = total * tl.exp(peak - tops) + tl.sum(powers, axis=1) * tl.exp(highest - tops)
            peak = tops
            if BY_COLUMN:
                sums = highest + tl.log(tl.sum(powers, axis=0))
                spots = block.to(tl.int64) * column_count + columns
                tl.store(by_column + spots, sums)
    places = part.to(tl.int64) * row_count + rows
    tl.store(by_row + places, peak + tl.log(total), mask=rows < row_count)
    if BEST:
        tl.store(best_by_row + places, peak, mask=rows < row_count)


@triton.jit
def _merged(parts, places, count, number, MANY: tl.constexpr, BLOCK: tl.constexpr):
    """Log-sum-exp over the `number` rows of `parts` (number, count) at `places`."""
    peak = tl.full((BLOCK,), LOWEST, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, number, MANY):
        which = start + tl.arange(0, MANY)
        inside = (which < number)[:, None] & (places < count)[None, :]
        starts = parts + which.to(tl.int64)[:, None] * count + places[None, :]
        values = tl.load(starts, mask=inside, other=LOWEST)
        tops = tl.maximum(peak, tl.max(values, axis=0))
        total = total * tl.exp(peak - tops) + tl.sum(tl.exp(values - tops[None, :]), axis=0)
        peak = tops
    return peak + tl.log(total)


@triton.jit
def merge_kernel(
    parts, best_parts, merged, best, count, number, MANY: tl.constexpr, BLOCK: tl.constexpr
):
    """Partial log-sum-exps and maxima (number, count) of one side -> (count,)."""
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    sums = _merged(parts, places, count, number, MANY, BLOCK)
    tl.store(merged + places, sums, mask=places < count)
    peak = tl.full((BLOCK,), LOWEST, tl.float32)
    for start in range(0, number, MANY):
        which = start + tl.arange(0, MANY)
        inside = (which < number)[:, None] & (places < count)[None, :]
        starts = best_parts + which.to(tl.int64)[:, None] * count + places[None, :]
        values = tl.load(starts, mask=inside, other=LOWEST)
        peak = tl.maximum(peak, tl.max(values, axis=0))
    tl.store(best + places, peak, mask=places < count)


@triton.jit
def _side(gap):
    """softplus(gap) and its derivative, to the last digits of either sign of `gap`."""
    power = tl.exp(-tl.abs(gap))
    # log(1 + power), corrected for what the sum has rounded away.
    whole = 1.0 + power
    rest = tl.where(whole == 1.0, 1.0, whole - 1.0)
    small = tl.where(whole == 1.0, power, tl.log(whole) * (power / rest))
    return tl.maximum(gap, 0.0) + small, tl.where(gap >= 0, 1.0, power) / whole


@triton.jit
def losses_kernel(
    row_parts,
    column_parts,
    right,
    losses,
    wrong,
    weights,
    count,
    row_number,
    column_number,
    share,
    BY_COLUMN: tl.constexpr,
    MANY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Merge of square scores, each program's share of the loss, and what the way back needs.

    `wrong` is (2, n), log-sum-exps of rows and of columns; `weights` (3, n), the derivatives of
    softplus of both and of the score of the right partner.
    """
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = places < count
    partner = tl.load(right + places, mask=inside, other=0.0)
    sums = _merged(row_parts, places, count, row_number, MANY, BLOCK)
    loss, weight = _side(sums - partner)
    tl.store(wrong + places, sums, mask=inside)
    tl.store(weights + places, weight, mask=inside)
    against = weight
    if BY_COLUMN:
        sums = _merged(column_parts, places, count, column_number, MANY, BLOCK)
        other, weight = _side(sums - partner)
        loss += other
        against += weight
        tl.store(wrong + count + places, sums, mask=inside)
        tl.store(weights + count + places, weight, mask=inside)
    tl.store(weights + 2 * count + places, -against, mask=inside)
    tl.store(losses + tl.program_id(0), tl.sum(tl.where(inside, loss, 0.0), axis=0) * share)
