"""Calls as CUDA graphs: the time that the GPU itself needs, without the launches from Python."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from benchmarks.common import Budget, measure_times
from benchmarks.schema import Device, Graph, reason

# What torch.cuda.make_graphed_callables takes, too: libraries and the autograd engine set
# themselves up in their first calls on a stream, which may not happen in a capture.
_WARM_UP_CALLS = 3


def measure_graph(call: Callable[[], object], *, device: Device, budget: Budget) -> Graph | None:
    """Time the replay of `call`, or say why it was not captured; None on the CPU.

    `call` must have run before, and read inputs that stay where they are.
    """
    if device == "cpu":
        return None
    try:
        replay = capture(call)
    except RuntimeError as error:
        # What torch raises where a call synchronises, leaves the stream or finds no memory.
        return Graph(timing=None, skipped=reason(error))
    [timing] = measure_times([replay], device=device, budget=budget)
    return Graph(timing=timing, skipped=None)


def capture(call: Callable[[], object]) -> Callable[[], object]:
    """Record `call` on a side stream; what is returned replays it and gives the same tensors.

    Raises:
        RuntimeError: the call does what a graph cannot hold.
    """
    graph = torch.cuda.CUDAGraph()
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        # A capture that breaks off may leave the allocator astray; this one never starts.
        with _synchronisation_refused():
            for _ in range(_WARM_UP_CALLS):
                call()
        with torch.cuda.graph(graph, stream=side):
            result = call()
    torch.cuda.current_stream().wait_stream(side)

    def replay() -> object:
        graph.replay()
        return result

    return replay


@contextmanager
def _synchronisation_refused() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        # That the mode is a prototype.
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
