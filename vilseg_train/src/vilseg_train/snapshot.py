"""The whole state of a run as a checkpoint, and back: weights, moments, random states, position."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vilseg_data import CaptionLoader, StreamLoader
from vilseg_train.checkpoint import Checkpoint, load_module
from vilseg_train.optim import load_optimizer_tensors, optimizer_tensors
from vilseg_train.parallel import Ranks

Loader = CaptionLoader | StreamLoader


def take_snapshot(
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    position: Mapping[str, int],
    facts: Mapping[str, Any],
    device: torch.device,
    ranks: Ranks,
) -> Checkpoint:
    """The state after `step` steps; called by all ranks, whole on rank 0.

    position: that of the loader, behind the last batch that was used.
    """
    mine = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        mine["cuda"] = torch.cuda.get_rng_state(device)
    tensors: dict[str, Tensor] = {}
    positions = []
    for rank, (random, where) in enumerate(ranks.gather([(mine, dict(position))])):
        tensors |= {_random_name(kind, rank): state for kind, state in random.items()}
        positions.append(where)
    states = {name: module.state_dict() for name, module in modules.items()}
    states["optimizer"] = optimizer_tensors(optimizer)
    for prefix, state in states.items():
        tensors |= {f"{prefix}/{name}": tensor for name, tensor in state.items()}
    # A listed source has one order for all; of a stream each rank has a share.
    same = all(where == positions[0] for where in positions)
    loader = positions[0] if same else positions
    return Checkpoint(step, tensors, {**facts, "loader": loader, "processes": ranks.size})


def restore_modules(
    checkpoint: Checkpoint,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    *,
    path: Path,
) -> None:
    """Weights, running statistics and moments of a checkpoint; `CheckpointError` if it does not
    fit."""
    for name, module in modules.items():
        load_module(module, checkpoint.part(name), path=path)
    load_optimizer_tensors(optimizer, checkpoint.part("optimizer"))


def random_state(checkpoint: Checkpoint, *, seed: int, ranks: Ranks) -> Tensor:
    """The state of torch's CPU generator for this rank; a fresh one where it is a new rank."""
    saved = checkpoint.tensors.get(_random_name("cpu", ranks.rank))
    return fresh_random_state(seed, ranks) if saved is None else saved


def fresh_random_state(seed: int, ranks: Ranks) -> Tensor:
    """Where a rank above 0 begins: dropout differs between ranks, while weights begin the same."""
    if ranks.leads:
        return torch.get_rng_state()
    state: Tensor = torch.Generator().manual_seed(seed * 1_000_003 + ranks.rank).get_state()
    return state


def restore_device_random(
    checkpoint: Checkpoint, device: torch.device, *, seed: int, ranks: Ranks
) -> None:
    """The same for the device's generator."""
    if device.type != "cuda":
        return
    saved = checkpoint.tensors.get(_random_name("cuda", ranks.rank))
    if saved is None:
        torch.cuda.manual_seed(seed * 1_000_003 + ranks.rank)
    else:
        torch.cuda.set_rng_state(saved, device)


def restore_position(loader: Loader, checkpoint: Checkpoint, *, ranks: Ranks) -> bool:
    """Put the loader behind the last batch that was used; whether that place is exact.

    Shares of a stream are those of a number of processes: on another number, the epoch under way
    begins again.
    """
    saved = checkpoint.facts["loader"]
    states = saved if isinstance(saved, list) else [saved]
    here = loader.state_dict()
    if "part" not in here or here["parts"] == len(states):
        loader.load_state_dict(states[ranks.rank if len(states) > 1 else 0])
        return True
    begin = {"epoch": min(state["epoch"] for state in states), "shard": 0, "sample": 0, "given": 0}
    own = {"part": here["part"], "parts": here["parts"]}
    loader.load_state_dict({**states[0], **begin, **own})
    return False


def _random_name(kind: str, rank: int) -> str:
    return f"rng/{kind}" if rank == 0 else f"rng/{kind}.{rank}"
