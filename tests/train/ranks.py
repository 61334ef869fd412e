"""Processes of a run, started as torchrun starts them but for the time that importing torch takes.

They are forked from a server that has imported everything; `vilseg_train.parallel.processes` finds
torchrun's environment in them.
"""

import fcntl
import multiprocessing
import os
import random
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from tests.train.conftest import quiet, tiny_config
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from vilseg_train import Trainer
from vilseg_train.errors import RunEnded
from vilseg_train.parallel import processes

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    # The last two are imported when a model and DistributedDataParallel are made.
    ["vilseg_train.trainer", "vilseg_train.cli", "timm", "torch._dynamo"]
)

Change = Callable[[Trainer], None]

# Kept for as long as a process that was started is known.
_STORES: WeakKeyDictionary[BaseProcess, TCPStore] = WeakKeyDictionary()


def start(
    count: int, function: Callable[..., None], *args: Any, restart: int = 0
) -> list[BaseProcess]:
    """Start `function(*args)` in `count` processes; one alone is no rank of anything."""
    environment = {"TORCHELASTIC_RESTART_COUNT": str(restart)}
    store = None
    if count > 1:
        # As with torchrun the store is nobody's of the ranks, and outlives any of them.
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        environment |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "WORLD_SIZE": str(count),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
    started = [
        CONTEXT.Process(target=_enter, args=(rank, environment, function, args))
        for rank in range(count)
    ]
    for process in started:
        process.start()
        if store is not None:
            _STORES[process] = store
    return list(started)


def finish(started: Sequence[BaseProcess], *, seconds: float = 600) -> list[int | None]:
    """Wait for all to end by themselves; their exit codes, below 0 by a signal."""
    end = time.monotonic() + seconds
    for process in started:
        process.join(max(0.0, end - time.monotonic()))
    hanging = [number for number, process in enumerate(started) if process.is_alive()]
    for process in started:
        process.kill()
        process.join()
    assert not hanging, f"ranks {hanging} did not end"
    return [process.exitcode for process in started]


def run(count: int, function: Callable[..., None], *args: Any, restart: int = 0) -> None:
    """Start and finish; all must end well."""
    assert finish(start(count, function, *args, restart=restart)) == [0] * count


def _enter(
    rank: int, environment: dict[str, str], function: Callable[..., None], args: tuple[Any, ...]
) -> None:
    os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    function(*args)


def train(
    overrides: Sequence[str], out: Path, *, resume: bool = False, change: Change | None = None
) -> None:
    """A tiny run in this process, which may be one of several."""
    with processes() as ranks:
        trainer = Trainer(
            tiny_config(*overrides), out=out, resume=resume, console=quiet(), ranks=ranks
        )
        if change is not None:
            change(trainer)
        trainer.fit()


def train_rank(overrides: Sequence[str], out: Path, resume: bool, change: Change | None) -> None:
    """`train` for `start`: what a rank ends with goes to `<out>.said-<rank>` as to a terminal."""
    try:
        train(overrides, out, resume=resume, change=change)
    except (ValueError, OSError, RunEnded) as error:
        rank = os.environ.get("RANK", "0")
        out.with_name(f"{out.name}.said-{rank}").write_text(str(error), encoding="utf-8")
        sys.exit(getattr(error, "exit_code", 2))


def is_rank(rank: int) -> bool:
    return os.environ.get("RANK", "0") == str(rank)


class Kill:
    """Ends a process by SIGKILL at a moment that is drawn from `seed`.

    Either some time into a step, from another thread, or at a write of `os.fsync` or `os.replace`:
    before it, with half of the file written, or after it. It says when.
    """

    def __init__(self, seed: int, *, rank: int | None) -> None:
        self.seed, self.rank = seed, rank

    def __call__(self, trainer: Trainer) -> None:
        if self.rank is not None and not is_rank(self.rank):
            return
        draw = random.Random(self.seed)
        if draw.random() < 0.5:
            step, pause = trainer.step + draw.randrange(4), draw.random() * 0.03
            threading.Thread(target=self._wait, args=(trainer, step, pause), daemon=True).start()
        else:
            name = draw.choice(["fsync", "replace"])
            self._at_write(name, number=draw.randrange(8), how=draw.randrange(3))

    def _wait(self, trainer: Trainer, step: int, pause: float) -> None:
        while trainer.step < step:
            time.sleep(0.001)
        time.sleep(pause)
        self._kill(f"{1e3 * pause:.1f} ms into step {trainer.step}")

    def _at_write(self, name: str, *, number: int, how: int) -> None:
        inner, calls = getattr(os, name), 0

        def killing(*args: Any) -> None:
            nonlocal calls
            calls += 1
            if calls <= number:
                inner(*args)
                return
            if how == 1 and name == "fsync" and _is_new_file(args[0]):
                os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
            elif how == 2:
                inner(*args)
            self._kill(f"{name} {number} of this life, {['before', 'half way', 'after'][how]}")

        setattr(os, name, killing)

    def _kill(self, moment: str) -> None:
        sys.stderr.write(f"rank {os.environ.get('RANK', '0')}: {moment}\n")
        os.kill(os.getpid(), signal.SIGKILL)


def _is_new_file(handle: int) -> bool:
    """Whether it is written whole: no folder, and no record that lines are added to."""
    appended = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_APPEND
    return stat.S_ISREG(os.fstat(handle).st_mode) and not appended
