"""Launchers of the forward kernels: inverse norms, and what score tiles leave by row and column.

r = images, c = columns of scores (texts), d = embedding dimension.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vilseg_core.ops.dispatch import INTERPRETED
from vilseg_core.ops.kernel_configs_contrast import PROGRAMS, ROWS, Operands, Tile, tile_of
from vilseg_core.ops.launching import blocks

HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Scores:
    """One problem: the towers, and how its kernels are to read and to multiply them."""

    image: Tensor
    text: Tensor
    scale: Tensor
    first: int

    @property
    def rows(self) -> int:
        return self.image.shape[0]

    @property
    def columns(self) -> int:
        return self.text.shape[0]

    @property
    def width(self) -> int:
        return self.image.shape[1]

    @property
    def strides(self) -> tuple[int, ...]:
        return (*self.image.stride(), *self.text.stride())

    @property
    def operands(self) -> Operands:
        if self.image.dtype in HALF:
            return "half"
        exact = torch.get_float32_matmul_precision() == "highest"
        return "float32" if exact else "tf32"

    @property
    def tile(self) -> Tile:
        beside = all(
            tower.stride(1) == 1 and tower.stride(0) % 16 == 0 and tower.data_ptr() % 16 == 0
            for tower in (self.image, self.text)
        )
        scores = self.rows * self.columns
        device = self.image.device
        return tile_of(
            self.operands,
            scores=scores,
            width=self.width,
            beside=beside,
            capability=torch.cuda.get_device_capability(device)[0] if device.type == "cuda" else 0,
        )

    def options(self, tile: Tile) -> dict[str, Any]:
        """What a kernel that forms score tiles is compiled for."""
        return {
            "ROWS": tile.rows,
            "COLUMNS": tile.columns,
            "STEP": tile.step,
            "EVEN": self.width % tile.step == 0,
            # The interpreter keeps bfloat16 as integers and multiplies those.
            "WIDEN": INTERPRETED,
            "PRECISION": "tf32" if self.operands == "tf32" else "ieee",
            "num_warps": tile.warps,
            "num_stages": tile.stages,
            "enable_fp_fusion": True,
        }


def inverse_norms(scores: Scores) -> Tensor:
    """1 / norm of the images and after them of the texts, (r + c,)."""
    from vilseg_core.ops.triton_contrast_kernels import norms_kernel

    inverse = scores.image.new_empty(scores.rows + scores.columns, dtype=torch.float32)
    programs = blocks(scores.rows, ROWS.rows) + blocks(scores.columns, ROWS.rows)
    norms_kernel[(programs,)](
        scores.image,
        scores.text,
        inverse,
        scores.rows,
        scores.columns,
        scores.width,
        *scores.strides,
        ROWS=ROWS.rows,
        STEP=ROWS.step,
        num_warps=ROWS.warps,
        enable_fp_fusion=True,
    )
    return inverse


@dataclass(frozen=True)
class Parts:
    """Partial results of score tiles: by row (parts, r), by column (blocks, c)."""

    by_row: Tensor
    by_column: Tensor
    best_by_row: Tensor
    best_by_column: Tensor
    right: Tensor


def score_parts(scores: Scores, inverse: Tensor, *, by_column: bool, best: bool) -> Parts:
    """Partial log-sum-exps of wrong partners, and where `best` their maxima too."""
    from vilseg_core.ops.triton_contrast_kernels import scores_kernel

    tile = scores.tile
    rowblocks, columnblocks = blocks(scores.rows, tile.rows), blocks(scores.columns, tile.columns)
    share = blocks(columnblocks, blocks(PROGRAMS, rowblocks))
    number = blocks(columnblocks, share)
    empty = inverse.new_empty(0)
    rows = inverse.new_empty(number, scores.rows)
    columns = inverse.new_empty(rowblocks, scores.columns) if by_column else empty
    parts = Parts(
        rows,
        columns,
        inverse.new_empty(rows.shape) if best else empty,
        inverse.new_empty(columns.shape) if best else empty,
        inverse.new_empty(scores.rows),
    )
    scores_kernel[(rowblocks * number,)](
        scores.image,
        scores.text,
        scores.scale,
        inverse,
        parts.by_row,
        parts.by_column,
        parts.best_by_row,
        parts.best_by_column,
        parts.right,
        scores.rows,
        scores.columns,
        scores.first,
        scores.width,
        *scores.strides,
        rowblocks,
        share,
        BY_COLUMN=by_column,
        BEST=best,
        **scores.options(tile),
    )
    return parts
