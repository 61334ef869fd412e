"""Scores of labelled rows over blocks: several right candidates, ignored ones, extra wrong ones.

r = images, c = texts, d = embedding dimension. As in `chunked_contrast`, with a mask of right
scores made block by block from two vectors of labels. Memory beyond inputs and gradients: their
unit rows and about five blocks of `BLOCK_ROWS` * c numbers.
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

IGNORED = -1
"""The label of a row or column that takes no part."""

EXTRA = -2
"""A label, like any below `IGNORED`, that nothing is a right candidate for."""


class Labelled(NamedTuple):
    """Of every row, or column, of scores: what its right and its wrong candidates amount to.

    Log-sum-exps and bests are the lowest finite value where there is no such candidate.
    """

    wrong: Tensor
    right: Tensor
    right_sum: Tensor
    best_wrong: Tensor
    best_right: Tensor


def label_masks(row_labels: Tensor, column_labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which scores are right and which are ignored: two (r, c) masks of booleans."""
    # Two different negative values, so that negative labels are never equal.
    rows = torch.where(row_labels >= 0, row_labels, -1)
    columns = torch.where(column_labels >= 0, column_labels, -2)
    right = rows[:, None] == columns
    return right, (row_labels == IGNORED)[:, None] | (column_labels == IGNORED)


@torch.library.custom_op("vilseg::labelled_statistics", mutates_args=())
def _statistics(
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    row_labels: Tensor,
    column_labels: Tensor,
    block: int,
) -> tuple[Tensor, Tensor]:
    """The fields of `Labelled` as (5, r) for the rows and (5, c) for the columns."""
    count, width = image.shape[0], text.shape[0]
    image, text = unit_rows(image)[0], unit_rows(text)[0]
    lowest = torch.finfo(image.dtype).min
    by_row, right_sum = image.new_empty(5, count), image.new_zeros(width)
    wrong_columns, right_columns = (ColumnLogSumExp(width, image) for _ in range(2))
    spare = image.new_empty(min(block, count), width)
    with without_autocast(image):
        for start in range(0, count, block):
            part = slice(start, start + block)
            right, ignored = label_masks(row_labels[part], column_labels)
            scores = (image[part] * scale) @ text.T
            room = spare[: scores.shape[0]]
            chosen = torch.where(right, scores, 0.0)
            by_row[2, part] = chosen.sum(1)
            right_sum += chosen.sum(0)
            chosen.masked_fill_(~right, lowest)
            by_row[1, part], by_row[4, part] = row_logsumexp(chosen, room=room)
            right_columns.add(chosen)
            scores.masked_fill_(right | ignored, lowest)
            by_row[0, part], by_row[3, part] = row_logsumexp(scores, room=room)
            wrong_columns.add(scores)
    columns = (
        wrong_columns.result(),
        right_columns.result(),
        right_sum,
        wrong_columns.highest,
        right_columns.highest,
    )
    return by_row, torch.stack(columns)


@torch.library.custom_op("vilseg::labelled_statistics_backward", mutates_args=())
def _statistics_backward(
    d_row: Tensor,
    d_column: Tensor,
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    row_labels: Tensor,
    column_labels: Tensor,
    by_row: Tensor,
    by_column: Tensor,
    block: int,
) -> tuple[Tensor, Tensor, Tensor]:
    (image, image_norm), (text, text_norm) = unit_rows(image), unit_rows(text)
    d_image, d_text = image.new_empty(image.shape), text.new_zeros(text.shape)
    with without_autocast(image):
        for start in range(0, image.shape[0], block):
            part = slice(start, start + block)
            right, ignored = label_masks(row_labels[part], column_labels)
            scaled = image[part] * scale
            scores = scaled @ text.T
            own, d_own = by_row[:, part, None], d_row[:, part, None]
            # The log-sum-exp that a score is part of: no exponential then exceeds 1.
            d_scores = (scores - torch.where(right, own[1], own[0])).exp_()
            d_scores.mul_(torch.where(right, d_own[1], d_own[0]))
            scores.sub_(torch.where(right, by_column[1], by_column[0])).exp_()
            d_scores.addcmul_(scores, torch.where(right, d_column[1], d_column[0]))
            d_scores.add_(torch.where(right, d_own[2] + d_column[2], 0.0))
            d_scores.masked_fill_(ignored, 0.0)
            torch.mm(d_scores, text, out=d_image[part])
            d_text.addmm_(d_scores.T, scaled)
        d_scale = row_dots(d_image, image).sum()
        d_image = through_unit(d_image.mul_(scale), image, image_norm)
        d_text = through_unit(d_text, text, text_norm)
    return d_image, d_text, d_scale


@_statistics.register_fake
def _(image: Tensor, text: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return image.new_empty(5, image.shape[0]), text.new_empty(5, text.shape[0])


@_statistics_backward.register_fake
def _(*grads_and_inputs: Any) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in grads_and_inputs[2:5])


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.block = inputs
    ctx.save_for_backward(*tensors, *output)


def _backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    found = _statistics_backward(*grads, *ctx.saved_tensors, ctx.block)
    return *found, None, None, None


_statistics.register_autograd(_backward, setup_context=_save)


def labelled_statistics(
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    *,
    row_labels: Tensor,
    column_labels: Tensor,
    block: int = BLOCK_ROWS,
) -> tuple[Labelled, Labelled]:
    """Statistics of all scores of images and texts, scale * cosine, by rows and by columns.

    A candidate is right where both labels are equal and not negative. A row or column labelled -1
    takes no part; one labelled below that is a wrong candidate for all that take part.

    Args:
        image: (r, d), any norm, float32 or float64.
        text: (c, d), the same dtype.
        scale: 0-d, the factor on the cosines, the same dtype.
        row_labels: (r,), int64.
        column_labels: (c,), int64.
        block: rows of scores held at once.

    Returns:
        Vectors (r,) of the rows and (c,) of the columns. Log-sum-exps and sums have a gradient for
        `image`, `text` and `scale`, of first order only; the bests have none.
    """
    found = _statistics(image, text, scale, row_labels, column_labels, block)
    rows, columns = (Labelled(*side[:3].unbind(), *side[3:].detach().unbind()) for side in found)
    return rows, columns
