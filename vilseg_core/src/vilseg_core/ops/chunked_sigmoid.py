"""Sigmoid losses of all scores over blocks of rows: plain torch, recomputed gradients.

r = images, c = texts, d = embedding dimension. Memory beyond inputs and gradients: their unit
rows, (r + c) * d numbers, and two blocks of `BLOCK_ROWS` * c.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vilseg_core._numerics import without_autocast
from vilseg_core.ops.chunked_labels import label_masks
from vilseg_core.ops.score_blocks import BLOCK_ROWS, row_dots, through_unit, unit_rows


@torch.library.custom_op("vilseg::sigmoid_loss_sum", mutates_args=())
def _loss_sum(
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    bias: Tensor,
    row_labels: Tensor | None,
    column_labels: Tensor | None,
    first: int,
    block: int,
) -> Tensor:
    image, text = unit_rows(image)[0], unit_rows(text)[0]
    totals = [scale.new_zeros(1)]
    with without_autocast(image):
        for start in range(0, image.shape[0], block):
            part = slice(start, start + block)
            scores = torch.addmm(bias, image[part] * scale, text.T)
            _turn(scores, start, row_labels, column_labels, first)
            # Above 40 softplus(x) is x to the last bit of float64; torch's own 20 is not.
            totals.append(F.softplus(scores, threshold=40.0).sum(1))
    return torch.cat(totals).sum()


@torch.library.custom_op("vilseg::sigmoid_loss_sum_backward", mutates_args=())
def _loss_sum_backward(
    grad: Tensor,
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    bias: Tensor,
    row_labels: Tensor | None,
    column_labels: Tensor | None,
    first: int,
    block: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    (image, image_norm), (text, text_norm) = unit_rows(image), unit_rows(text)
    d_image, d_text = image.new_empty(image.shape), text.new_zeros(text.shape)
    d_bias = torch.zeros_like(bias)
    with without_autocast(image):
        for start in range(0, image.shape[0], block):
            part = slice(start, start + block)
            scaled = image[part] * scale
            scores = torch.addmm(bias, scaled, text.T)
            _turn(scores, start, row_labels, column_labels, first)
            d_scores = scores.sigmoid_()
            # The right ones were turned: turn their gradient back.
            if row_labels is None or column_labels is None:
                d_scores.diagonal(first + start).neg_()
            else:
                right, _ = label_masks(row_labels[part], column_labels)
                d_scores = torch.where(right, -d_scores, d_scores)
            d_bias += d_scores.sum()
            torch.mm(d_scores, text, out=d_image[part])
            d_text.addmm_(d_scores.T, scaled)
        d_scale = row_dots(d_image, image).sum() * grad
        d_image = through_unit(d_image.mul_(scale * grad), image, image_norm)
        d_text = through_unit(d_text.mul_(grad), text, text_norm)
    return d_image, d_text, d_scale, d_bias * grad


def _turn(
    scores: Tensor,
    start: int,
    row_labels: Tensor | None,
    column_labels: Tensor | None,
    first: int,
) -> None:
    """Negate the right scores of a block of rows and take the ignored ones out, in place."""
    if row_labels is None or column_labels is None:
        scores.diagonal(first + start).neg_()
        return
    part = slice(start, start + scores.shape[0])
    right, ignored = label_masks(row_labels[part], column_labels)
    torch.where(right, -scores, scores, out=scores)
    # Its softplus and its sigmoid are exactly 0.
    scores.masked_fill_(ignored, torch.finfo(scores.dtype).min)


@_loss_sum.register_fake
def _(image: Tensor, *_: Any) -> Tensor:
    return image.new_empty(())


@_loss_sum_backward.register_fake
def _(*grad_and_inputs: Any) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in grad_and_inputs[1:5])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, ctx.first, ctx.block = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    found = _loss_sum_backward(grads[0], *ctx.saved_tensors, ctx.first, ctx.block)
    return *found, None, None, None, None


_loss_sum.register_autograd(_backward, setup_context=_save)


def sigmoid_loss_sum(
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    first: int = 0,
    row_labels: Tensor | None = None,
    column_labels: Tensor | None = None,
    block: int = BLOCK_ROWS,
) -> Tensor:
    """Sum over all scores of softplus(score), and of softplus(-score) where it is right, in nats.

    Args:
        image: (r, d), any norm, float32 or float64.
        text: (c, d), the same dtype.
        scale: 0-d, the factor on the cosines, the same dtype.
        bias: 0-d, added to the scores, the same dtype.
        first: the column of row 0's partner, without labels; c >= first + r.
        row_labels: (r,), int64, as in `labelled_statistics`; both or none.
        column_labels: (c,), int64.
        block: rows of scores held at once.

    Returns:
        0-d tensor with a gradient for the first four, of first order only.
    """
    total: Tensor = _loss_sum(image, text, scale, bias, row_labels, column_labels, first, block)
    return total
