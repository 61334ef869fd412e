"""Scores of pairs over blocks of rows: plain torch, no matrix of scores, recomputed gradients.

r = images, c = texts, d = embedding dimension. One block of scores feeds the log-sum-exp of its
rows, which is complete in the block, and that of the columns, which is carried from block to block
as a maximum and a sum. Memory beyond inputs and gradients: their unit rows, (r + c) * d numbers,
and two blocks, 2 * `BLOCK_ROWS` * c numbers. Autograd would keep more for the unit rows alone.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vilseg_core._numerics import without_autocast
from vilseg_core.ops.score_blocks import (
    BLOCK_ROWS,
    ColumnLogSumExp,
    row_dots,
    row_logsumexp,
    through_unit,
    unit_rows,
)


class PairStatistics(NamedTuple):
    """What a contrastive loss needs of r x c scores of which one a row is right.

    The log-sum-exp is over the wrong candidates alone, so that a loss keeps its digits where the
    right one has won. Without any wrong candidate it and the best are the lowest finite value.
    """

    wrong_by_row: Tensor
    wrong_by_column: Tensor
    right: Tensor
    best_by_row: Tensor
    best_by_column: Tensor


@torch.library.custom_op("vilseg::pair_statistics", mutates_args=())
def _statistics(
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    first: int,
    rows: bool,
    columns: bool,
    block: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    count, width = image.shape[0], text.shape[0]
    image, text = unit_rows(image)[0], unit_rows(text)[0]
    lowest = torch.finfo(image.dtype).min
    wrong_by_row, best_by_row = (image.new_full((count,), lowest) for _ in range(2))
    right = image.new_empty(count)
    by_column = ColumnLogSumExp(width, image)
    spare = image.new_empty(min(block, count), width)
    with without_autocast(image):
        for start in range(0, count, block):
            part = slice(start, start + block)
            scores = (image[part] * scale) @ text.T
            diagonal = scores.diagonal(first + start)
            right[part] = diagonal
            # Finite, so that a single pair, which has no wrong partner, leaves no nan.
            diagonal.fill_(lowest)
            if rows:
                room = spare[: scores.shape[0]]
                wrong_by_row[part], best_by_row[part] = row_logsumexp(scores, room=room)
            if columns:
                by_column.add(scores)
    return wrong_by_row, by_column.result(), right, best_by_row, by_column.highest


@torch.library.custom_op("vilseg::pair_statistics_backward", mutates_args=())
def _statistics_backward(
    d_row: Tensor,
    d_column: Tensor,
    d_right: Tensor,
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    wrong_by_row: Tensor,
    wrong_by_column: Tensor,
    first: int,
    rows: bool,
    columns: bool,
    block: int,
) -> tuple[Tensor, Tensor, Tensor]:
    count, width = image.shape[0], text.shape[0]
    (image, image_norm), (text, text_norm) = unit_rows(image), unit_rows(text)
    d_image, d_text = image.new_empty(image.shape), text.new_zeros(text.shape)
    spare = image.new_empty(min(block, count), width)
    with without_autocast(image):
        for start in range(0, count, block):
            part = slice(start, start + block)
            scaled = image[part] * scale
            scores = scaled @ text.T
            # A wrong score has its share of the exponentials of its row and of its column.
            if rows and columns:
                room = spare[: scores.shape[0]]
                torch.sub(scores, wrong_by_column, out=room).exp_()
                scores.sub_(wrong_by_row[part, None]).exp_().mul_(d_row[part, None])
                d_scores = scores.addcmul_(room, d_column)
            elif rows:
                d_scores = scores.sub_(wrong_by_row[part, None]).exp_().mul_(d_row[part, None])
            else:
                d_scores = scores.sub_(wrong_by_column).exp_().mul_(d_column)
            d_scores.diagonal(first + start).copy_(d_right[part])
            torch.mm(d_scores, text, out=d_image[part])
            d_text.addmm_(d_scores.T, scaled)
        d_scale = row_dots(d_image, image).sum()
        d_image = through_unit(d_image.mul_(scale), image, image_norm)
        d_text = through_unit(d_text, text, text_norm)
    return d_image, d_text, d_scale


@_statistics.register_fake
def _(image: Tensor, text: Tensor, *_: Any) -> tuple[Tensor, ...]:
    sizes = [rows.shape[0] for rows in (image, text, image, image, text)]
    return tuple(image.new_empty(size) for size in sizes)


@_statistics_backward.register_fake
def _(*grads_and_inputs: Any) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in grads_and_inputs[3:6])


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    image, text, scale, *ctx.options = inputs
    ctx.save_for_backward(image, text, scale, output[0], output[1])


def _backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    found = _statistics_backward(*grads[:3], *ctx.saved_tensors, *ctx.options)
    return *found, None, None, None, None


_statistics.register_autograd(_backward, setup_context=_save)


def pair_statistics(
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    *,
    first: int = 0,
    rows: bool = True,
    columns: bool = True,
    block: int = BLOCK_ROWS,
) -> PairStatistics:
    """Statistics of all scores of images and texts, scale * cosine; row i's partner is first + i.

    Args:
        image: (r, d), any norm, float32 or float64.
        text: (c, d), the same dtype, c >= first + r.
        scale: 0-d, the factor on the cosines, the same dtype.
        first: the column of row 0's partner.
        rows: whether the log-sum-exp and the best of each row are wanted.
        columns: whether those of each column are; one of the two at least.
        block: rows of scores held at once.

    Returns:
        wrong_by_row (r,), wrong_by_column (c,) and right (r,) with a gradient for `image`, `text`
        and `scale`, of first order only; best_by_row (r,) and best_by_column (c,) without.
    """
    found = PairStatistics(*_statistics(image, text, scale, first, rows, columns, block))
    bests = {"best_by_row": found.best_by_row, "best_by_column": found.best_by_column}
    return found._replace(**{name: best.detach() for name, best in bests.items()})
