"""The processes of a run: who they are, what they tell one another, and that they end together.

`torchrun` starts them and torch.distributed joins them. One process is the ordinary case: `Ranks()`
is alone and every method of it answers at once.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, ProcessGroup, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from vilseg_train.checkpoint import Checkpoint
from vilseg_train.errors import RunEnded, SaidElsewhere

Value = TypeVar("Value")

_FAILED = "vilseg/failed"
# A process that fails closes its connections, and says why a moment before or after.
_PATIENCE_SECONDS = 3.0


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, as one of them sees them.

    Every method is called by all of them, in the same order.

    Attributes:
        rank: the number of this one.
        size: how many there are.
        local_rank: its number on its machine.
        group: all of them; None where there is one.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    group: ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        """Whether this one writes the folder and shows progress."""
        return self.rank == 0

    def from_leader(self, make: Callable[[], Value]) -> Value:
        """What `make()` gives on rank 0, on every rank; the others do not call it."""
        if self.size == 1:
            return make()
        held: list[Any] = [make() if self.leads else None]
        dist.broadcast_object_list(held, group=self.group)
        value: Value = held[0]
        return value

    def gather(self, items: list[Any]) -> list[Any]:
        """The items of all ranks, in rank order, on every rank.

        When there are none, one number is all that travels.
        """
        if self.size == 1:
            return items
        count = torch.tensor(len(items))
        dist.all_reduce(count, group=self.group)
        if not count:
            return []
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, items, group=self.group)
        return [item for part in parts for item in part]

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the ranks, entry by entry; not finite where it is so on any rank."""
        if self.size == 1:
            return values
        total = values.clone()
        dist.all_reduce(total, group=self.group)
        return total / self.size

    def checkpoint_of_leader(self, checkpoint: Checkpoint | None) -> Checkpoint:
        """The checkpoint of rank 0 on every rank; the others bring None and need no disk."""
        if self.size == 1:
            assert checkpoint is not None
            return checkpoint
        about: Any = None
        if checkpoint is not None:
            shapes = [(k, t.dtype, tuple(t.shape)) for k, t in checkpoint.tensors.items()]
            about = (checkpoint.step, checkpoint.facts, shapes)
        step, facts, shapes = self.from_leader(lambda: about)
        tensors = {}
        for name, dtype, shape in shapes:
            tensor = torch.empty(shape, dtype=dtype)
            if checkpoint is not None:
                tensor.copy_(checkpoint.tensors[name])
            if tensor.numel():
                # As bytes: not every backend knows every dtype.
                dist.broadcast(tensor.reshape(-1).view(torch.uint8), src=0, group=self.group)
            tensors[name] = tensor
        return Checkpoint(step, tensors, facts)


@contextmanager
def processes() -> Iterator[Ranks]:
    """Join the processes that torchrun started, for as long as the context lasts.

    Without torchrun, or with one process, this is `Ranks()`. A rank that fails tells the others why
    before it ends; they end with `SaidElsewhere` instead of an error about a lost connection.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    store, rank, size = next(iter(rendezvous("env://")))
    # torchrun's store outlives a restart, and with it the addresses of those that are gone.
    store = PrefixStore(f"vilseg/{_restarts()}", store)
    ranks = Ranks(rank=rank, size=size, local_rank=int(os.environ.get("LOCAL_RANK", rank)))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
        yield replace(ranks, group=dist.group.WORLD)
    except BaseException as error:
        raise _reason(error, store=store, rank=rank) from error
    # After a failure the others may be gone, and there is nothing to take leave of.
    dist.destroy_process_group()


def was_restarted() -> bool:
    """Whether torchrun started this process again, after one of them had failed."""
    return _restarts() > 0


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _reason(error: BaseException, *, store: Store, rank: int) -> BaseException:
    """What this rank ends with: its own error, unless another one failed first or says the same."""
    if isinstance(error, RunEnded):
        # All ranks end alike, and one of them says so.
        return error if rank == 0 else SaidElsewhere(rank=0, exit_code=error.exit_code)
    try:
        first = _first_failure(store, patient=isinstance(error, RuntimeError))
        if first is None:
            mine = json.dumps({"rank": rank, "error": f"{type(error).__name__}: {error}"})
            first = json.loads(store.compare_set(_FAILED, "", mine))
    except (RuntimeError, ValueError):
        # The store went with the process that kept it.
        return error
    if first["rank"] == rank:
        return error
    return SaidElsewhere(rank=first["rank"], exit_code=2)


def _first_failure(store: Store, *, patient: bool) -> Any:
    """Who failed first, as it told; one that hears of a lost connection waits for it a little."""
    end = time.monotonic() + (_PATIENCE_SECONDS if patient else 0.0)
    while not store.check([_FAILED]):
        if time.monotonic() >= end:
            return None
        time.sleep(0.05)
    return json.loads(store.get(_FAILED))
