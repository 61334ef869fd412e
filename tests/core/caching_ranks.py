"""What each process of the test of gradient caching runs; a module of its own, to be spawned."""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vilseg_core import SymmetricInfoNCE, cached_contrastive_step

CHUNK = 3
TOWERS = ("separate", "shared")


def modules(towers: str, *, group: dist.ProcessGroup | None) -> dict[str, nn.Module]:
    """Encoders and a loss with a temperature; a buffer, which DDP broadcasts."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)).double()
    encoder.register_buffer("steps", torch.zeros(1))
    other = encoder if towers == "shared" else nn.Linear(4, 5).double()
    loss = SymmetricInfoNCE(0.3, group=group).double()
    return {"first": encoder, "second": other, "loss": loss}


def batch(size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    numbers = torch.randn(size, 8, dtype=torch.float64, generator=generator)
    return numbers[:, :4], numbers[:, 4:]


def gradients(parts: dict[str, nn.Module]) -> dict[str, Tensor]:
    found = {}
    for key, module in parts.items():
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            found[f"{key}.{name}"] = parameter.grad
    return found


def count_reductions(module: DistributedDataParallel) -> list[int]:
    """A list that grows by one for each reduction of the module's one bucket."""
    seen: list[int] = []

    def hook(
        _: Any,
        bucket: dist.GradBucket,  # type: ignore[name-defined]
    ) -> torch.futures.Future[Tensor]:
        seen.append(bucket.index())
        # Waited for: a callback left to gloo's thread may still hold Python when the process ends.
        dist.all_reduce(bucket.buffer().div_(dist.get_world_size()))
        reduced: torch.futures.Future[Tensor] = torch.futures.Future()
        reduced.set_result(bucket.buffer())
        return reduced

    module.register_comm_hook(None, hook)
    return seen


def two_steps(towers: str, first: Tensor, second: Tensor) -> tuple[dict[str, Tensor], list[int]]:
    """Value and gradients of the second step, and the reductions of each module over both.

    Twice, because DDP rebuilds its buckets after the first step.
    """
    parts = modules(towers, group=dist.group.WORLD)
    distinct = {id(module): module for module in parts.values()}
    wrapped = {key: DistributedDataParallel(module) for key, module in distinct.items()}
    reductions = {key: count_reductions(module) for key, module in wrapped.items()}
    encoders = [wrapped[id(parts[key])] for key in ("first", "second")]
    for _ in range(2):
        for module in parts.values():
            module.zero_grad()
        value = cached_contrastive_step(
            encoders, [first, second], loss=wrapped[id(parts["loss"])], chunk=CHUNK
        )
    return {"value": value, **gradients(parts)}, [len(seen) for seen in reductions.values()]


def run(rank: int, sizes: tuple[int, ...], folder: Path) -> None:
    """One process: two steps on this rank's part of the batch; saves gradients and reductions."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=len(sizes)
    )
    start = sum(sizes[:rank])
    first, second = (x[start : start + sizes[rank]] for x in batch(sum(sizes)))
    found: dict[str, Any] = {}
    # In a function of its own, so that no module outlives the group it reduces over.
    for towers in TOWERS:
        found[towers], found[f"{towers} reductions"] = two_steps(towers, first, second)
    torch.save(found, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
