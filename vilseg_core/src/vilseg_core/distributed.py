"""Everything the losses know of torch.distributed.

The contract every loss keeps through these functions: its value is that of the joined batch, on
every rank, and once gradients are averaged over the ranks (as DistributedDataParallel does) every
input and every parameter has exactly the gradient that one process holding the joined batch would
compute. Batches may differ in size from rank to rank.

The backward passes send nothing: every rank computes the same loss from the same joined values,
so the gradient that arrives at a joined value is the same everywhere, and a rank takes its own
share of it, times the number of ranks to undo the averaging. Each rank must therefore
back-propagate the same scalar.

`group=None` means this process alone; nothing is read from the environment.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

__all__ = ["ProcessGroup", "gather_rows", "sum_over_group", "world_size"]


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


def sum_over_group(values: Tensor, group: ProcessGroup | None) -> Tensor:
    """Sum of every rank's `values`, the same on every rank; any shape, equal on all ranks."""
    if world_size(group) == 1:
        return values
    total: Tensor = _SumOverGroup.apply(values, group)
    return total


def gather_rows(rows: Tensor, group: ProcessGroup | None) -> Tensor:
    """Rows of every rank, in rank order, the same on every rank: (n_r, d) -> (sum of n_r, d)."""
    if world_size(group) == 1:
        return rows
    joined: Tensor = _GatherRows.apply(rows, group)
    return joined


class _SumOverGroup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup) -> Tensor:
        ctx.ranks = dist.get_world_size(group)
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.ranks, None


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: ProcessGroup) -> Tensor:
        rank, ranks = dist.get_rank(group), dist.get_world_size(group)
        count = torch.tensor([rows.shape[0]], device=rows.device)
        received = [torch.empty_like(count) for _ in range(ranks)]
        dist.all_gather(received, count, group=group)
        counts: list[int] = torch.cat(received).tolist()

        # Collectives want equal shapes: pad to the longest, cut what was padded.
        padded = rows.new_zeros(max(counts), rows.shape[1])
        padded[: rows.shape[0]] = rows
        parts = [torch.empty_like(padded) for _ in range(ranks)]
        dist.all_gather(parts, padded, group=group)

        ctx.ranks = ranks
        ctx.own = slice(sum(counts[:rank]), sum(counts[: rank + 1]))
        return torch.cat([part[:size] for part, size in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0][ctx.own] * ctx.ranks, None
