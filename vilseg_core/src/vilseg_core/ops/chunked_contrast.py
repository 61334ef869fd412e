"""InfoNCE over blocks of rows: plain torch, nothing n x n, gradients from recomputed blocks.

n = pairs, d = embedding dimension. One block of scores feeds the log-sum-exp of its rows, which is
complete in the block, and that of the columns, which is carried from block to block as a maximum
and a sum. Memory beyond inputs and gradients: their unit rows, 2 * n * d numbers, and two blocks,
2 * `BLOCK_ROWS` * n numbers. Autograd would keep more for the unit rows alone.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vilseg_core._numerics import without_autocast

BLOCK_ROWS = 256
SHORTEST = 1e-12
"""Rows shorter than this are divided by it, as torch.nn.functional.normalize does."""


@torch.library.custom_op("vilseg::contrast", mutates_args=())
def _contrast(
    image: Tensor, text: Tensor, scale: Tensor, rows: bool, columns: bool, block: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss; log-sum-exp of the wrong partners by row and by column; score of the right one."""
    count = image.shape[0]
    image, text = _unit(image)[0], _unit(text)[0]
    lowest = torch.finfo(image.dtype).min
    by_row, right = image.new_zeros(count), image.new_empty(count)
    highest, total = image.new_full((count,), lowest), image.new_zeros(count)
    spare = image.new_empty(min(block, count), count)
    with without_autocast(image):
        for start in range(0, count, block):
            part = slice(start, start + block)
            scores = (image[part] * scale) @ text.T
            room = spare[: scores.shape[0]]
            diagonal = scores.diagonal(start)
            right[part] = diagonal
            # Finite, so that a single pair, which has no wrong partner, leaves no nan.
            diagonal.fill_(lowest)
            if rows:
                peak = scores.amax(1, keepdim=True)
                torch.sub(scores, peak, out=room).exp_()
                by_row[part] = room.sum(1).log_().add_(peak[:, 0])
            if columns:
                peak = torch.maximum(highest, scores.amax(0))
                scores.sub_(peak).exp_()
                total = total * (highest - peak).exp_() + scores.sum(0)
                highest = peak
    by_column = total.log_().add_(highest)
    sides = [side for side, wanted in ((by_row, rows), (by_column, columns)) if wanted]
    # Above 40 softplus(x) is x to the last bit of float64; torch's own threshold of 20 is not.
    losses = [F.softplus(side - right, threshold=40.0).sum() for side in sides]
    return torch.stack(losses).sum() / (len(sides) * max(count, 1)), by_row, by_column, right


@torch.library.custom_op("vilseg::contrast_backward", mutates_args=())
def _contrast_backward(
    grad: Tensor,
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    by_row: Tensor,
    by_column: Tensor,
    right: Tensor,
    rows: bool,
    columns: bool,
    block: int,
) -> tuple[Tensor, Tensor, Tensor]:
    count = image.shape[0]
    (image, image_norm), (text, text_norm) = _unit(image), _unit(text)
    d_image, d_text = image.new_empty(image.shape), text.new_zeros(text.shape)
    spare = image.new_empty(min(block, count), count)
    # Of a score: softmax over all partners for a wrong one, minus the wrong ones' share for the
    # right one. Both keep their digits where the right partner has won.
    whole_row, whole_column = torch.logaddexp(by_row, right), torch.logaddexp(by_column, right)
    d_right = torch.zeros_like(right)
    for side, wanted in ((by_row, rows), (by_column, columns)):
        if wanted:
            d_right -= (side - right).sigmoid_()
    with without_autocast(image):
        for start in range(0, count, block):
            part = slice(start, start + block)
            scaled = image[part] * scale
            scores = scaled @ text.T
            if rows and columns:
                room = spare[: scores.shape[0]]
                torch.sub(scores, whole_column, out=room).exp_()
                d_scores = scores.sub_(whole_row[part, None]).exp_().add_(room)
            elif rows:
                d_scores = scores.sub_(whole_row[part, None]).exp_()
            else:
                d_scores = scores.sub_(whole_column).exp_()
            d_scores.diagonal(start).copy_(d_right[part])
            torch.mm(d_scores, text, out=d_image[part])
            d_text.addmm_(d_scores.T, scaled)
        share = grad / (max(count, 1) * (rows + columns))
        d_scale = _dots(d_image, image).sum() * share
        d_image = _through_unit(d_image.mul_(share * scale), image, image_norm)
        d_text = _through_unit(d_text.mul_(share), text, text_norm)
    return d_image, d_text, d_scale


def _unit(rows: Tensor) -> tuple[Tensor, Tensor]:
    norm = torch.linalg.vector_norm(rows, dim=1)
    return rows / norm.clamp_min(SHORTEST)[:, None], norm


def _through_unit(grad: Tensor, unit: Tensor, norm: Tensor) -> Tensor:
    """From the gradient of unit rows to that of the rows; `grad` is overwritten."""
    along = torch.where(norm > SHORTEST, _dots(grad, unit), 0.0)
    return grad.addcmul_(unit, along[:, None], value=-1).div_(norm.clamp_min(SHORTEST)[:, None])


def _dots(a: Tensor, b: Tensor) -> Tensor:
    """Dot product of each row of `a` with that of `b`, without their product in memory."""
    return torch.bmm(a[:, None], b[:, :, None]).flatten()


@_contrast.register_fake
def _(image: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    by_row, by_column, right = (image.new_empty(image.shape[0]) for _ in range(3))
    return image.new_empty(()), by_row, by_column, right


@_contrast_backward.register_fake
def _(_: Tensor, image: Tensor, text: Tensor, scale: Tensor, *_rest: Any) -> tuple[Tensor, ...]:
    return image.new_empty(image.shape), text.new_empty(text.shape), scale.new_empty(())


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    image, text, scale, *ctx.options = inputs
    ctx.save_for_backward(image, text, scale, *output[1:])


def _backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    return *_contrast_backward(grads[0], *ctx.saved_tensors, *ctx.options), None, None, None


_contrast.register_autograd(_backward, setup_context=_save)


def contrast(
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    *,
    rows: bool,
    columns: bool,
    block: int = BLOCK_ROWS,
) -> Tensor:
    """InfoNCE of pairs of rows, by rows, by columns or the mean of both, in nats.

    Args:
        image: (n, d), any norm, float32 or float64.
        text: (n, d), the same dtype.
        scale: 0-d, the factor on the cosines, the same dtype.
        rows: whether each row of `image` looks for its partner.
        columns: whether each row of `text` does; one of the two at least.
        block: rows of scores held at once.

    Returns:
        0-d tensor with a gradient for `image`, `text` and `scale`, of first order only.
    """
    loss: Tensor = _contrast(image, text, scale, rows, columns, block)[0]
    return loss
