"""Everything the losses know of torch.distributed.

The contract every loss keeps through these functions: its value is that of the joined batch, on
every rank, and once gradients are averaged over the ranks (as DistributedDataParallel does) every
input and every parameter has exactly the gradient that one process holding the joined batch would
compute. Batches may differ in size from rank to rank.

A joined value that every rank uses in the same way has the same gradient everywhere. Its backward
pass sends nothing: a rank takes its own share of that gradient, times the number of ranks to undo
the averaging. Rows that each rank uses in its own way (`share_rows`) have a different part of
their gradient on every rank; their backward pass sums these parts over the group. Each rank must
therefore back-propagate the same scalar, and a tensor that needs a gradient must need one on every
rank, also where it has no rows. Second derivatives are refused: they would need messages of their
own.

`group=None` means this process alone; nothing is read from the environment.
"""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup

__all__ = [
    "ProcessGroup",
    "RowsOfRanks",
    "gather_rows",
    "logsumexp_over_group",
    "max_over_group",
    "rows_of_ranks",
    "share_rows",
    "sum_over_group",
    "world_size",
]


class RowsOfRanks(NamedTuple):
    """How many rows each rank brings to the joined batch."""

    counts: tuple[int, ...]
    rank: int

    @property
    def total(self) -> int:
        return sum(self.counts)

    @property
    def own(self) -> slice:
        """This rank's rows among the joined ones."""
        start = sum(self.counts[: self.rank])
        return slice(start, start + self.counts[self.rank])


def world_size(group: ProcessGroup | None) -> int:
    """Number of processes in `group`; 1 for None.

    Raises:
        ValueError: this process is not a member of `group`.
    """
    if group is None:
        return 1
    if dist.get_rank(group) < 0:
        raise ValueError(
            "group: expected a process group that this process belongs to, came one that it does "
            "not; call the loss on the members only, or pass torch.distributed.group.WORLD."
        )
    return dist.get_world_size(group)


def rows_of_ranks(rows: Tensor, group: ProcessGroup | None) -> RowsOfRanks:
    """The rows of every rank's (n_r, ...), known on every rank.

    Over a group the host waits for them: the shapes of what is gathered depend on them.
    """
    ranks = world_size(group)
    if ranks == 1:
        return RowsOfRanks((rows.shape[0],), 0)
    count = torch.full((1,), rows.shape[0], dtype=torch.int64, device=rows.device)
    received = [torch.empty_like(count) for _ in range(ranks)]
    dist.all_gather(received, count, group=group)
    return RowsOfRanks(tuple(torch.cat(received).tolist()), dist.get_rank(group))


def sum_over_group(values: Tensor, group: ProcessGroup | None) -> Tensor:
    """Sum of every rank's `values`, the same on every rank; any shape, equal on all ranks."""
    if world_size(group) == 1:
        return values
    total: Tensor = _SumOverGroup.apply(values, group)
    return total


def logsumexp_over_group(values: Tensor, group: ProcessGroup | None) -> Tensor:
    """Log of the sum of exp(`values`) over the ranks, entry by entry; finite values, any shape."""
    if world_size(group) == 1:
        return values
    joined: Tensor = _LogSumExpOverGroup.apply(values, group)
    return joined


def max_over_group(values: Tensor, group: ProcessGroup | None) -> Tensor:
    """The largest of every rank's `values`, entry by entry; receives no gradient."""
    if world_size(group) == 1:
        return values.detach()
    highest = values.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(highest, dist.ReduceOp.MAX, group=group)
    return highest


def gather_rows(
    rows: Tensor, group: ProcessGroup | None, *, ranks: RowsOfRanks | None = None
) -> Tensor:
    """Rows of every rank, in rank order, the same on every rank: (n_r, d) -> (sum of n_r, d).

    For values that every rank goes on to use in the same way. With `ranks` their counts, which
    must be those of `rows_of_ranks`, need no message of their own.
    """
    if world_size(group) == 1:
        return rows
    joined: Tensor = _GatherRows.apply(rows, group, ranks or rows_of_ranks(rows, group))
    return joined


def share_rows(
    rows: Tensor, group: ProcessGroup | None, *, ranks: RowsOfRanks | None = None
) -> Tensor:
    """`gather_rows` for values that each rank uses in its own way, such as against its own rows.

    The loss must depend on every such use through a joined value, for instance a sum over the
    group; the gradients that arrive on the ranks are then summed.
    """
    if world_size(group) == 1:
        return rows
    joined: Tensor = _ShareRows.apply(rows, group, ranks or rows_of_ranks(rows, group))
    return joined


class _SumOverGroup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup) -> Tensor:
        ctx.ranks = dist.get_world_size(group)
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.ranks, None


class _LogSumExpOverGroup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup) -> Tensor:
        highest = max_over_group(values, group)
        total = (values - highest).exp_()
        dist.all_reduce(total, group=group)
        joined = total.log_().add_(highest)
        ctx.ranks = dist.get_world_size(group)
        ctx.save_for_backward(values, joined)
        return joined

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        values, joined = ctx.saved_tensors
        return grads[0] * (values - joined).exp() * ctx.ranks, None


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: ProcessGroup, ranks: RowsOfRanks) -> Tensor:
        ctx.ranks = ranks
        return _gather(rows, group, ranks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0][ctx.ranks.own] * len(ctx.ranks.counts), None, None


class _ShareRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: ProcessGroup, ranks: RowsOfRanks) -> Tensor:
        ctx.group, ctx.ranks = group, ranks
        return _gather(rows, group, ranks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _sum_to_owners(grads[0], ctx.group, ctx.ranks), None, None


def _gather(rows: Tensor, group: ProcessGroup, ranks: RowsOfRanks) -> Tensor:
    # Collectives want equal shapes: pad to the longest, cut what was padded.
    padded = rows.new_zeros(max(ranks.counts), *rows.shape[1:])
    padded[: rows.shape[0]] = rows
    parts = [torch.empty_like(padded) for _ in ranks.counts]
    dist.all_gather(parts, padded, group=group)
    return torch.cat([part[:size] for part, size in zip(parts, ranks.counts, strict=True)])


def _sum_to_owners(joined: Tensor, group: ProcessGroup, ranks: RowsOfRanks) -> Tensor:
    """Sum over the group of (sum of n_r, d); each rank receives its own rows of it."""
    if joined.device.type == "cpu":
        # gloo does not scatter sums in every torch from 2.6 on.
        total = joined.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total[ranks.own]
    return _reduce_scatter(joined, group, ranks)


def _reduce_scatter(joined: Tensor, group: ProcessGroup, ranks: RowsOfRanks) -> Tensor:
    longest = max(ranks.counts)
    padded = joined.new_zeros(len(ranks.counts), longest, *joined.shape[1:])
    for place, rows in zip(padded, torch.split(joined, list(ranks.counts)), strict=True):
        place[: rows.shape[0]] = rows
    own = torch.empty_like(padded[0])
    dist.reduce_scatter_tensor(own, padded.flatten(0, 1), group=group)
    return own[: ranks.counts[ranks.rank]]
