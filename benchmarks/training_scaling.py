"""The same training step on one process and on two, started as torchrun starts them."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from benchmarks.schema import Device
from benchmarks.training_measure import train
from benchmarks.training_problems import Problem
from benchmarks.training_schema import Scaling
from vilseg_train.parallel import processes


def scaling(problem: Problem, *, device: Device) -> tuple[Scaling, ...]:
    """Steps of one process, of several on its batch, and of several on a batch each."""
    count = problem.processes
    batch = problem.config(device).train.batch_size
    batches = (batch, count * batch)
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="scaling",
        monitor_interval=0.1,
        start_method="spawn",
    )
    alone = _step_seconds(problem, device, (batch,))
    with _handlers_kept():
        joined = elastic_launch(launch, _step_seconds)(problem, device, batches)[0]
    return (
        Scaling(processes=1, batch=batch, step_s=alone[0]),
        *(
            Scaling(processes=count, batch=rows, step_s=seconds)
            for rows, seconds in zip(batches, joined, strict=True)
        ),
    )


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Undo the handlers that torch's launcher leaves for the signals it answers."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _step_seconds(problem: Problem, device: Device, batches: tuple[int, ...]) -> list[float]:
    """Seconds of a step of each batch, as this process sees it."""
    found = []
    with processes() as ranks:
        for batch in batches:
            config = problem.config(device, batch=batch)
            _, parts = train(config, steps=problem.steps, clock="wall", ranks=ranks)
            found.append(sum(parts.values()))
    return found
