"""Launcher of the gradient of InfoNCE: blocks of weights, two library products each, the norms.

r = images, c = texts, d = embedding dimension.
"""

import torch
from torch import Tensor

from vilseg_core._numerics import without_autocast
from vilseg_core.ops.kernel_configs_contrast import GROUP, ROWS, SLOTS
from vilseg_core.ops.launching import blocks, on_device
from vilseg_core.ops.triton_contrast_scores import HALF, Scores

BLOCK_BYTES = 1 << 26
BLOCK_COLUMNS = 8192
"""Of a block of weights. At 64 MB its two products are bound by the matrix units: with d = 512 the
float32 sums that they read and write are fewer bytes than the block."""

RAISE = 2.0**13
"""Weights lie in [-2, 2]; raised by this, float16 holds them down to 2**-37."""

ADDS_HALF = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 10)
"""Whether addmm adds a product of half precision to float32 (pytorch/pytorch#167931)."""

Weights = tuple[Tensor | None, Tensor | None, Tensor]


def gradients(
    scores: Scores,
    inverse: Tensor,
    *,
    wrong: tuple[Tensor, Tensor],
    weights: Weights,
    grad: Tensor,
    share: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of image, text and scale from those of the score statistics.

    Args:
        scores: the problem.
        inverse: (r + c,), 1 / norm of the images and after them of the texts.
        wrong: log-sum-exp of the wrong partners by row (r,) and by column (c,).
        weights: derivative by both, None where there is none, and by the right score (r,).
        grad: 0-d, a factor on all.
        share: another.
    """
    image, text = scores.image, scores.text
    if 0 in (scores.rows, scores.columns):
        return image.new_zeros(image.shape), text.new_zeros(text.shape), grad.new_zeros(())
    with on_device(image), without_autocast(image):
        return _Gradient(scores, inverse, wrong, weights).run(grad, share)


class _Gradient:
    """Buffers of one backward pass."""

    def __init__(
        self, scores: Scores, inverse: Tensor, wrong: tuple[Tensor, Tensor], weights: Weights
    ) -> None:
        self.scores, self.inverse, self.wrong, self.weights = scores, inverse, wrong, weights
        image = scores.image
        self.tile = tile = scores.tile
        self.columns = min(scores.columns, BLOCK_COLUMNS)
        # Whole tiles, and rows that start at multiples of 128 bytes, which suits the library.
        pitch = 64 * blocks(tile.columns * blocks(self.columns, tile.columns), 64)
        fitting = BLOCK_BYTES // (pitch * image.element_size() * tile.rows) * tile.rows
        self.rows = min(scores.rows, max(fitting, tile.rows))
        self.block = image.new_empty(tile.rows * blocks(self.rows, tile.rows), pitch)
        self.slots = blocks(self.rows, tile.rows) * blocks(self.columns, tile.columns)
        self.sums = inverse.new_empty(self.slots)
        self.image_products = inverse.new_empty(self.rows, scores.width)
        self.text_products = inverse.new_empty(scores.columns, scores.width)
        # Inverse norms have a place in the weights, save where float16 would not hold them there.
        self.fold = image.dtype != torch.float16
        self.operands = (image, scores.text)
        if not self.fold:
            rows, columns = inverse[: scores.rows], inverse[scores.rows :]
            self.operands = (_unit(image, rows), _unit(scores.text, columns))

    def run(self, grad: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
        scores = self.scores
        d_image, d_text = (x.new_empty(x.shape) for x in (scores.image, scores.text))
        found = d_image, d_text, grad.new_empty((), dtype=torch.float32)
        image, text = self.operands
        for low in range(0, scores.rows, self.rows):
            high = min(low + self.rows, scores.rows)
            products = self.image_products[: high - low]
            for start in range(0, scores.columns, self.columns):
                end = min(start + self.columns, scores.columns)
                self._weigh(low, high, start, end)
                block = self.block[: high - low, : end - start]
                _add_product(products, block, text[start:end], begin=start == 0)
                sums = self.text_products[start:end]
                _add_product(sums, block.T, image[low:high], begin=low == 0)
            self._finish(low, high, found, grad, share)
        return found

    def _weigh(self, low: int, high: int, start: int, end: int) -> None:
        from vilseg_core.ops.triton_contrast_gradient_kernels import weights_kernel

        scores, tile = self.scores, self.tile
        row, column, right = self.weights
        programs = blocks(high - low, tile.rows) * blocks(end - start, tile.columns)
        weights_kernel[(programs,)](
            scores.image,
            scores.text,
            scores.scale,
            self.inverse,
            *self.wrong,
            right if row is None else row,
            right if column is None else column,
            right,
            self.block,
            self.sums,
            low,
            high,
            start,
            end,
            scores.rows,
            scores.columns,
            scores.first,
            scores.width,
            *scores.strides,
            self.block.stride(0),
            GROUP=GROUP,
            BY_ROW=row is not None,
            BY_COLUMN=column is not None,
            BEGIN=low == start == 0,
            FOLD=self.fold,
            RAISE=RAISE,
            **scores.options(tile),
        )

    def _finish(
        self,
        low: int,
        high: int,
        found: tuple[Tensor, Tensor, Tensor],
        grad: Tensor,
        share: float,
    ) -> None:
        from vilseg_core.ops.triton_contrast_gradient_kernels import through_norms_kernel

        scores = self.scores
        last = high == scores.rows
        programs = blocks(high - low, ROWS.rows) + last * blocks(scores.columns, ROWS.rows)
        through_norms_kernel[(programs,)](
            self.image_products,
            self.text_products,
            scores.image,
            scores.text,
            self.inverse,
            *found,
            self.sums,
            scores.scale,
            grad,
            share,
            1.0 if self.fold else 1.0 / RAISE,
            low,
            high - low,
            scores.columns,
            scores.rows,
            self.slots,
            scores.width,
            *scores.strides,
            FOLD=self.fold,
            LAST=last,
            ROWS=ROWS.rows,
            STEP=ROWS.step,
            SLOTS=SLOTS,
            num_warps=ROWS.warps,
            enable_fp_fusion=True,
        )


def _unit(rows: Tensor, inverse: Tensor) -> Tensor:
    return torch.mul(rows, inverse[:, None], out=rows.new_empty(rows.shape))


def _add_product(sums: Tensor, a: Tensor, b: Tensor, *, begin: bool) -> None:
    """`sums` += a @ b, or = where they `begin`, in float32 whatever the operands' dtype."""
    if a.dtype not in HALF:
        torch.addmm(sums, a, b, beta=0 if begin else 1, out=sums)
    elif not (a.is_cuda and ADDS_HALF):
        # Float32 holds every product of halves.
        torch.addmm(sums, a.float(), b.float(), beta=0 if begin else 1, out=sums)
    elif begin:
        torch.mm(a, b, out_dtype=torch.float32, out=sums)
    else:
        torch.addmm(sums, a, b, out_dtype=torch.float32, out=sums)
