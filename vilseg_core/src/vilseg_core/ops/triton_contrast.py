"""InfoNCE by Triton kernels: a score tile feeds rows and columns, gradients from recomputed tiles.

r = images, c = texts, n where they are as many, d = embedding dimension. Memory beyond inputs and
gradients: forward r * c / 64 numbers of float32 at most (r * c / 128 for more than 2**20 scores of
aligned rows; twice that for `pair_statistics`), backward one block of weights, 64 MB, and c * d
numbers of float32. Deterministic: partial results are merged in one order, without atomics.
"""

from typing import Any

import torch
from torch import Tensor

from vilseg_core.ops.kernel_configs_contrast import merge_of
from vilseg_core.ops.launching import blocks, on_device
from vilseg_core.ops.triton_contrast_gradient import gradients
from vilseg_core.ops.triton_contrast_scores import Scores, inverse_norms, score_parts

TINY = torch.finfo(torch.float32).tiny
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@torch.library.custom_op("vilseg::triton_contrast", mutates_args=())
def _contrast(
    image: Tensor, text: Tensor, scale: Tensor, both: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss; inverse norms (2 n,); wrong partners (2, n); weights (3, n), by rows alone or both."""
    from vilseg_core.ops.triton_contrast_kernels import losses_kernel

    count = image.shape[0]
    wrong = image.new_empty(2, count, dtype=torch.float32)
    weights = image.new_empty(3, count, dtype=torch.float32)
    if count == 0:
        return wrong.new_zeros(()), wrong.new_empty(0), wrong, weights
    with on_device(image):
        scores = Scores(image, text, scale, 0)
        inverse = inverse_norms(scores)
        parts = score_parts(scores, inverse, by_column=both, best=False)
        merge = merge_of(count)
        losses = wrong.new_empty(blocks(count, merge.places))
        losses_kernel[(losses.numel(),)](
            parts.by_row,
            parts.by_column,
            parts.right,
            losses,
            wrong,
            weights,
            count,
            parts.by_row.shape[0],
            parts.by_column.shape[0],
            1.0 / (count * (1 + both)),
            BY_COLUMN=both,
            MANY=merge.parts,
            BLOCK=merge.places,
            num_warps=merge.warps,
            enable_fp_fusion=True,
        )
    loss = losses.reshape(()) if losses.numel() == 1 else losses.sum()
    return loss, inverse, wrong, weights


@_contrast.register_fake
def _(image: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    count = image.shape[0]
    shapes: tuple[tuple[int, ...], ...] = ((), (2 * count,), (2, count), (3, count))
    loss, inverse, wrong, weights = (image.new_empty(s, dtype=torch.float32) for s in shapes)
    return loss, inverse, wrong, weights


@torch.library.custom_op("vilseg::triton_pair_statistics", mutates_args=())
def _pair_statistics(
    image: Tensor, text: Tensor, scale: Tensor, first: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Wrong partners by row and by column, right ones, best wrong ones, and inverse norms."""
    from vilseg_core.ops.triton_contrast_kernels import merge_kernel

    sizes = image.shape[0], text.shape[0]
    if 0 in sizes:
        lowest = torch.finfo(torch.float32).min
        row, column = (scale.new_full((size,), lowest, dtype=torch.float32) for size in sizes)
        right, inverse = row.new_empty(sizes[0]), row.new_empty(sum(sizes))
        return row, column, right, row.clone(), column.clone(), inverse
    with on_device(image):
        scores = Scores(image, text, scale, first)
        inverse = inverse_norms(scores)
        parts = score_parts(scores, inverse, by_column=True, best=True)
        sides = (parts.by_row, parts.best_by_row), (parts.by_column, parts.best_by_column)
        found = []
        for sums, tops in sides:
            number, count = sums.shape
            merge = merge_of(count)
            merged, best = sums.new_empty(count), sums.new_empty(count)
            merge_kernel[(blocks(count, merge.places),)](
                sums,
                tops,
                merged,
                best,
                count,
                number,
                MANY=merge.parts,
                BLOCK=merge.places,
                num_warps=merge.warps,
                enable_fp_fusion=True,
            )
            found.append((merged, best))
    (row, best_row), (column, best_column) = found
    return row, column, parts.right, best_row, best_column, inverse


@_pair_statistics.register_fake
def _(image: Tensor, text: Tensor, *_: Any) -> tuple[Tensor, ...]:
    rows, columns = image.shape[0], text.shape[0]
    sizes = (rows, columns, rows, rows, columns, rows + columns)
    return tuple(image.new_empty(size, dtype=torch.float32) for size in sizes)


@torch.library.custom_op("vilseg::triton_contrast_backward", mutates_args=())
def _gradients(
    grad: Tensor,
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    inverse: Tensor,
    wrong_by_row: Tensor,
    wrong_by_column: Tensor,
    row_weights: Tensor | None,
    column_weights: Tensor | None,
    right_weights: Tensor,
    first: int,
    share: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return gradients(
        Scores(image, text, scale, first),
        inverse,
        wrong=(wrong_by_row, wrong_by_column),
        weights=(row_weights, column_weights, right_weights),
        grad=grad,
        share=share,
    )


@_gradients.register_fake
def _(_: Tensor, image: Tensor, text: Tensor, scale: Tensor, *_rest: Any) -> tuple[Tensor, ...]:
    return image.new_empty(image.shape), text.new_empty(text.shape), scale.new_empty(())


def _save_contrast(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    image, text, scale, ctx.both = inputs
    ctx.save_for_backward(image, text, scale, *output[1:])


def _contrast_backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    image, text, scale, inverse, wrong, weights = ctx.saved_tensors
    columns = weights[1] if ctx.both else None
    share = 1.0 / (max(image.shape[0], 1) * (1 + ctx.both))
    found = _gradients(
        grad, image, text, scale, inverse, *wrong.unbind(), weights[0], columns, weights[2],
        0, share,
    )  # fmt: skip
    return *found, None


_contrast.register_autograd(_contrast_backward, setup_context=_save_contrast)


def _save_statistics(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    image, text, scale, ctx.first = inputs
    row, column, _, best_row, best_column, inverse = output
    ctx.mark_non_differentiable(best_row, best_column, inverse)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(image, text, scale, inverse, row, column)


def _statistics_backward(
    ctx: Any, row: Tensor | None, column: Tensor | None, right: Tensor | None, *_: Any
) -> tuple[Tensor | None, ...]:
    image, text, scale, inverse, *wrong = ctx.saved_tensors
    given = [grad.abs() for grad in (row, column, right) if grad is not None]
    if not given:
        return None, None, None, None
    # Weights in [-1, 1], as half precision holds them best, whatever the size of the batch.
    peak = torch.cat([*given, wrong[0].new_full((1,), TINY)]).amax()
    row, column, right = (None if grad is None else grad / peak for grad in (row, column, right))
    if right is None:
        right = wrong[0].new_zeros(wrong[0].shape)
    found = _gradients(
        peak, image, text, scale, inverse, *wrong, row, column, right, ctx.first, 1.0
    )
    return *found, None


_pair_statistics.register_autograd(_statistics_backward, setup_context=_save_statistics)


def contrast(image: Tensor, text: Tensor, scale: Tensor, *, rows: bool, columns: bool) -> Tensor:
    """InfoNCE of pairs of rows, by rows, by columns or the mean of both, in nats.

    Args:
        image: (n, d), any norm and strides, float32, bfloat16 or float16.
        text: (n, d), likewise; a dtype of its own is widened to one that holds both.
        scale: 0-d float32, the factor on the cosines.
        rows: whether each row of `image` looks for its partner.
        columns: whether each row of `text` does; one of the two at least.

    Returns:
        0-d float32 with a gradient for `image`, `text` and `scale`, of first order only.

    Raises:
        ValueError: shapes, dtypes or the directions are not as above.
    """
    if not (rows or columns):
        raise ValueError("rows, columns: expected one True at least, came neither; set one.")
    image, text = _checked(image, text, scale)
    if image.shape != text.shape:
        raise ValueError(
            f"image, text: expected one shape (n, d), came {tuple(image.shape)} and "
            f"{tuple(text.shape)}; pass pairs of rows."
        )
    # One direction is the rows' own; that of the columns is the same with the towers swapped.
    towers = (image, text) if rows else (text, image)
    loss: Tensor = _contrast(*towers, scale, rows and columns)[0]
    return loss


def pair_statistics(
    image: Tensor, text: Tensor, scale: Tensor, *, first: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What the scores of some images with all texts say of right and wrong partners, in nats.

    The loss of row i by images is softplus(wrong_by_row[i] - right[i]). Without a wrong partner
    a log-sum-exp or a maximum is the lowest finite float32.

    Args:
        image: (r, d), any norm and strides, float32, bfloat16 or float16.
        text: (c, d), likewise, c >= first + r; a dtype of its own is widened.
        scale: 0-d float32, the factor on the cosines.
        first: row of `text` that is the partner of `image[0]`; the others follow.

    Returns:
        Float32: log-sum-exp of the wrong partners by row (r,) and by column (c,), score of the
        right partner (r,), and, without a gradient, the best wrong score by row (r,) and by
        column (c,). Gradients are of first order only.

    Raises:
        ValueError: shapes, dtypes or `first` are not as above.
    """
    image, text = _checked(image, text, scale)
    if first < 0 or first + image.shape[0] > text.shape[0]:
        raise ValueError(
            f"first: expected 0 <= first <= {text.shape[0] - image.shape[0]}, the rows of text "
            f"less those of image, came {first}; pass the place of the first partner."
        )
    row, column, right, best_row, best_column, _ = _pair_statistics(image, text, scale, first)
    return row, column, right, best_row, best_column


def _checked(image: Tensor, text: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Both towers in one dtype."""
    for name, tensor in (("image", image), ("text", text)):
        if tensor.dtype not in DTYPES:
            raise ValueError(
                f"{name}: expected float32, bfloat16 or float16, came {tensor.dtype}; convert it, "
                "or take impl='chunked' for float64."
            )
    if image.ndim != 2 or text.ndim != 2 or image.shape[1] != text.shape[1]:
        raise ValueError(
            f"image, text: expected (r, d) and (c, d), came {tuple(image.shape)} and "
            f"{tuple(text.shape)}; pass rows of one width."
        )
    if scale.ndim != 0 or scale.dtype != torch.float32:
        raise ValueError(
            f"scale: expected a 0-d float32 tensor, came {scale.dtype} of shape "
            f"{tuple(scale.shape)}; convert it with scale.float().reshape(())."
        )
    dtype = torch.promote_types(image.dtype, text.dtype)
    return image.to(dtype), text.to(dtype)
