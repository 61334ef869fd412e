"""Kernels of InfoNCE's gradient: weights of a chunk of scores, and the way through the norms.

Names and shapes as in `triton_contrast_kernels`. Between the two kernels stand library products of
the weights with the towers' rows.
"""

import triton
import triton.language as tl

from vilseg_core.ops.triton_contrast_kernels import SHORTEST, tile_cosines


@triton.jit
def _write_weights(
    cosines,
    factor,
    inverse,
    wrong_by_row,
    wrong_by_column,
    row_weights,
    column_weights,
    right_weights,
    weights,
    sums,
    rows,
    columns,
    row_start,
    row_end,
    column_start,
    column_end,
    row_count,
    first,
    pitch,
    BY_ROW: tl.constexpr,
    BY_COLUMN: tl.constexpr,
    BEGIN: tl.constexpr,
    FOLD: tl.constexpr,
    RAISE: tl.constexpr,
    SPECIAL: tl.constexpr,
):
    """The end of a tile. `SPECIAL`: it has right partners, or reaches beyond the chunk."""
    row_inside = rows < row_end
    column_inside = columns < column_end
    inside = row_inside[:, None] & column_inside[None, :]
    pairs = columns[None, :] == (rows + first)[:, None]
    scores = cosines * factor
    found = tl.zeros_like(scores)
    if BY_ROW:
        weight = tl.load(row_weights + rows, mask=row_inside, other=0.0)
        wrong = tl.load(wrong_by_row + rows, mask=row_inside, other=0.0)
        gaps = scores - wrong[:, None]
        if SPECIAL:
            # Only a right partner can be above, and by far, where it has won.
            gaps = tl.minimum(gaps, 0.0)
        found += weight[:, None] * tl.exp(gaps)
    if BY_COLUMN:
        weight = tl.load(column_weights + columns, mask=column_inside, other=0.0)
        wrong = tl.load(wrong_by_column + columns, mask=column_inside, other=0.0)
        gaps = scores - wrong[None, :]
        if SPECIAL:
            gaps = tl.minimum(gaps, 0.0)
        found += weight[None, :] * tl.exp(gaps)
    if SPECIAL:
        partner = tl.load(right_weights + rows, mask=row_inside, other=0.0)
        found = tl.where(inside, tl.where(pairs, partner[:, None], found), 0.0)
    total = tl.sum(tl.sum(found * cosines, axis=1), axis=0)
    if not BEGIN:
        total += tl.load(sums + tl.program_id(0))
    tl.store(sums + tl.program_id(0), total)
    if FOLD:
        by_row = tl.load(inverse + rows, mask=row_inside, other=0.0)
        by_column = tl.load(inverse + row_count + columns, mask=column_inside, other=0.0)
        found *= by_row[:, None] * by_column[None, :]
    else:
        found *= RAISE
    # No mask and no 64 bits: the block has room for whole tiles and is far below 2**31.
    places = (rows - row_start)[:, None] * pitch + (columns - column_start)[None, :]
    tl.store(weights + places, found.to(weights.dtype.element_ty))


@triton.jit
def weights_kernel(
    image,
    text,
    scale,
    inverse,
    wrong_by_row,
    wrong_by_column,
    row_weights,
    column_weights,
    right_weights,
    weights,
    sums,
    row_start,
    row_end,
    column_start,
    column_end,
    row_count,
    column_count,
    first,
    width,
    image_row,
    image_stride,
    text_row,
    text_stride,
    pitch,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STEP: tl.constexpr,
    GROUP: tl.constexpr,
    BY_ROW: tl.constexpr,
    BY_COLUMN: tl.constexpr,
    BEGIN: tl.constexpr,
    FOLD: tl.constexpr,
    RAISE: tl.constexpr,
    EVEN: tl.constexpr,
    WIDEN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Derivative of each score of a chunk of rows and columns, in the dtype of `weights`.

    `weights` (whole tiles of rows, pitch) has room for whole tiles of columns.

    Of a wrong partner it is row_weight exp(score - wrong_by_row), and likewise by column, of the
    right one `right_weights`. `FOLD` multiplies by both inverse norms, so that the products take
    the towers' rows as they came; otherwise the weights are multiplied by `RAISE`. `sums` adds up
    weight * cosine by program, over all chunks: the derivative by the scale.
    """
    down = tl.cdiv(row_end - row_start, ROWS)
    across = tl.cdiv(column_end - column_start, COLUMNS)
    # Programs that run together share rows and columns in the cache.
    band = tl.program_id(0) // (GROUP * across)
    height = tl.minimum(down - band * GROUP, GROUP)
    place = tl.program_id(0) % (GROUP * across)
    low = row_start + (band * GROUP + place % height) * ROWS
    start = column_start + (place // height) * COLUMNS
    rows = low + tl.arange(0, ROWS)
    columns = start + tl.arange(0, COLUMNS)
    cosines = tile_cosines(
        image, text, inverse, rows, columns, row_count, column_count, width,
        image_row, image_stride, text_row, text_stride,
        ROWS, COLUMNS, STEP, EVEN, WIDEN, PRECISION,
    )  # fmt: skip
    meets = (start < low + first + ROWS) & (start + COLUMNS > low + first)
    # Two whole ends, because a value that crosses the meeting of branches holds its registers.
    if meets | (low + ROWS > row_end) | (start + COLUMNS > column_end):
        _write_weights(
            cosines, tl.load(scale), inverse, wrong_by_row, wrong_by_column, row_weights,
            column_weights, right_weights, weights, sums, rows, columns, row_start, row_end,
            column_start, column_end, row_count, first, pitch,
            BY_ROW, BY_COLUMN, BEGIN, FOLD, RAISE, True,
        )  # fmt: skip
    else:
        _write_weights(
            cosines, tl.load(scale), inverse, wrong_by_row, wrong_by_column, row_weights,
            column_weights, right_weights, weights, sums, rows, columns, row_start, row_end,
            column_start, column_end, row_count, first, pitch,
            BY_ROW, BY_COLUMN, BEGIN, FOLD, RAISE, False,
        )  # fmt: skip


@triton.jit
def _through_norms(
    products,
    source,
    inverse,
    out,
    factor,
    block,
    start,
    count,
    width,
    row_stride,
    stride,
    FOLD: tl.constexpr,
    ROWS: tl.constexpr,
    STEP: tl.constexpr,
):
    rows = block * ROWS + tl.arange(0, ROWS)
    steps = tl.arange(0, STEP)
    norms = tl.load(inverse + start + rows, mask=rows < count, other=0.0)
    long = (start + rows).to(tl.int64)
    starts = source + long[:, None] * row_stride
    ours = products + rows.to(tl.int64)[:, None] * width
    along = tl.zeros((ROWS,), tl.float32)
    for step in range(0, width, STEP):
        places = (step + steps).to(tl.int64)[None, :]
        inside = (rows < count)[:, None] & (places < width)
        unit = tl.load(starts + places * stride, mask=inside, other=0.0).to(tl.float32)
        values = tl.load(ours + places, mask=inside, other=0.0)
        along += tl.sum(values * (unit * norms[:, None]), axis=1)
    # A row that its norm did not divide takes the gradient whole.
    along = tl.where(norms < 1.0 / SHORTEST, along, 0.0)
    factors = factor * (tl.full((ROWS,), 1.0, tl.float32) if FOLD else norms)
    for step in range(0, width, STEP):
        places = (step + steps).to(tl.int64)[None, :]
        inside = (rows < count)[:, None] & (places < width)
        unit = tl.load(starts + places * stride, mask=inside, other=0.0).to(tl.float32)
        values = tl.load(ours + places, mask=inside, other=0.0)
        values = (values - unit * norms[:, None] * along[:, None]) * factors[:, None]
        there = out + long[:, None] * width + places
        tl.store(there, values.to(out.dtype.element_ty), mask=inside)


@triton.jit
def through_norms_kernel(
    image_products,
    text_products,
    image,
    text,
    inverse,
    d_image,
    d_text,
    d_scale,
    sums,
    scale,
    grad,
    share,
    lowering,
    row_start,
    rows,
    columns,
    row_count,
    slots,
    width,
    image_row,
    image_stride,
    text_row,
    text_stride,
    FOLD: tl.constexpr,
    LAST: tl.constexpr,
    ROWS: tl.constexpr,
    STEP: tl.constexpr,
    SLOTS: tl.constexpr,
):
    """Products (rows, d) of a chunk, and where `LAST` of all columns, -> gradients of the inputs.

    All are multiplied by `grad` * `share`. `d_scale` takes the `slots` sums of the chunks.
    """
    block = tl.program_id(0)
    blocks = tl.cdiv(rows, ROWS)
    outer = tl.load(grad) * share
    factor = tl.load(scale) * outer * lowering
    if block < blocks:
        _through_norms(
            image_products, image, inverse, d_image, factor, block, row_start, rows, width,
            image_row, image_stride, FOLD, ROWS, STEP,
        )  # fmt: skip
    else:
        if LAST:
            _through_norms(
                text_products, text, inverse + row_count, d_text, factor, block - blocks, 0,
                columns, width, text_row, text_stride, FOLD, ROWS, STEP,
            )  # fmt: skip
    if LAST and block == 0:
        total = tl.zeros((SLOTS,), tl.float32)
        for start in range(0, slots, SLOTS):
            places = start + tl.arange(0, SLOTS)
            total += tl.load(sums + places, mask=places < slots, other=0.0)
        tl.store(d_scale, tl.sum(total, axis=0) * outer)
