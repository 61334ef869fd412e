"""What the chunked contrastive losses share: unit rows, and log-sum-exp of blocks of scores."""

import torch
from torch import Tensor

BLOCK_ROWS = 256
SHORTEST = 1e-12
"""Rows shorter than this are divided by it, as torch.nn.functional.normalize does."""


def unit_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of length 1, and the lengths they had."""
    norm = torch.linalg.vector_norm(rows, dim=1)
    return rows / norm.clamp_min(SHORTEST)[:, None], norm


def through_unit(grad: Tensor, unit: Tensor, norm: Tensor) -> Tensor:
    """From the gradient of unit rows to that of the rows; `grad` is overwritten."""
    along = torch.where(norm > SHORTEST, row_dots(grad, unit), 0.0)
    return grad.addcmul_(unit, along[:, None], value=-1).div_(norm.clamp_min(SHORTEST)[:, None])


def row_dots(a: Tensor, b: Tensor) -> Tensor:
    """Dot product of each row of `a` with that of `b`, without their product in memory."""
    return torch.bmm(a[:, None], b[:, :, None]).flatten()


def row_logsumexp(scores: Tensor, *, room: Tensor) -> tuple[Tensor, Tensor]:
    """Log-sum-exp and maximum of each row; `room`, of the shape of `scores`, is overwritten.

    The lowest finite value where a row is empty.
    """
    if scores.shape[1] == 0:
        lowest = scores.new_full((scores.shape[0],), torch.finfo(scores.dtype).min)
        return lowest, lowest
    peak = scores.amax(1, keepdim=True)
    torch.sub(scores, peak, out=room).exp_()
    return room.sum(1).log_().add_(peak[:, 0]), peak[:, 0]


class ColumnLogSumExp:
    """Log-sum-exp and maximum of each column, carried from block to block."""

    def __init__(self, width: int, like: Tensor) -> None:
        self.lowest = torch.finfo(like.dtype).min
        self.highest = like.new_full((width,), self.lowest)
        self.total = like.new_zeros(width)

    def add(self, scores: Tensor) -> None:
        """Take in a block of rows, which is overwritten."""
        peak = torch.maximum(self.highest, scores.amax(0))
        scores.sub_(peak).exp_()
        self.total = self.total * (self.highest - peak).exp_() + scores.sum(0)
        self.highest = peak

    def result(self) -> Tensor:
        """The lowest finite value where nothing was added."""
        return self.total.log().add_(self.highest).clamp_min_(self.lowest)
