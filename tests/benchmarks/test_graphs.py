"""Timing under a CUDA graph: what is captured and timed, and what is said where that fails."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch
from benchmarks import graphs
from benchmarks.common import Budget
from benchmarks.schema import Graph, Timing
from torch import Tensor

ONCE = Budget(warmup_s=0.0, measure_s=0.0, min_repeats=1, max_repeats=1)
FOUND = Timing(median_s=2.0, p20_s=1.0, p80_s=3.0, repeats=4)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens on a made-up device, in order."""
    log: list[str] = []
    mode = [0]

    class Recorder:
        def replay(self) -> None:
            log.append("replay")

    class Stream:
        def wait_stream(self, _: object) -> None:
            log.append("wait")

    @contextmanager
    def inside(name: str) -> Iterator[None]:
        log.append(name)
        try:
            yield
        finally:
            log.append(f"end of {name}")

    def capture(_: Recorder, *, stream: Stream) -> AbstractContextManager[None]:
        assert isinstance(stream, Stream)
        return inside("capture")

    def set_mode(wanted: int | str) -> None:
        mode[0] = 2 if wanted == "error" else int(wanted)
        log.append(f"synchronising {'refused' if mode[0] == 2 else 'allowed'}")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recorder)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: inside("side stream"))
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: mode[0])
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    return log


def test_a_call_warms_up_on_the_stream_that_captures_it(events: list[str]) -> None:
    replay = graphs.capture(lambda: events.append("call"))
    assert events == [
        *("wait", "side stream", "synchronising refused", "call", "call", "call"),
        *("synchronising allowed", "capture", "call", "end of capture", "end of side stream"),
        "wait",
    ]
    events.clear()
    replay()
    assert events == ["replay"]


def test_a_replay_gives_the_tensors_of_the_capture(events: list[str]) -> None:
    calls = iter(range(9))
    replay = graphs.capture(lambda: next(calls))
    assert [replay(), replay()] == [3, 3]
    assert events[-2:] == ["replay", "replay"]


def test_a_call_that_synchronises_is_never_captured(events: list[str]) -> None:
    def call() -> None:
        raise RuntimeError("called a synchronizing CUDA operation")

    found = graphs.measure_graph(call, device="cuda", budget=ONCE)
    reason = "RuntimeError: called a synchronizing CUDA operation"
    assert found == Graph(timing=None, skipped=reason)
    assert "capture" not in events
    assert events[-2:] == ["synchronising allowed", "end of side stream"]


def test_what_is_timed_is_the_replay(events: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(calls: list[Callable[[], object]], **_: object) -> list[Timing]:
        events.append("timing")
        for call in calls:
            call()
        return [FOUND]

    monkeypatch.setattr(graphs, "measure_times", measure)
    found = graphs.measure_graph(lambda: events.append("call"), device="cuda", budget=ONCE)
    assert found == Graph(timing=FOUND, skipped=None)
    assert events[-2:] == ["timing", "replay"]


def test_the_cpu_has_no_graphs() -> None:
    assert graphs.measure_graph(lambda: None, device="cpu", budget=ONCE) is None


@pytest.mark.parametrize("timing", [None, FOUND])
def test_a_graph_is_timed_or_says_why_not(timing: Timing | None) -> None:
    with pytest.raises(ValueError, match="expected one of them, came"):
        Graph(timing=timing, skipped=None if timing is None else "no")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_replay_follows_its_inputs_and_a_refusal_harms_nothing() -> None:
    inputs = torch.arange(6.0, device="cuda").requires_grad_()

    def gradients() -> tuple[Tensor, ...]:
        return torch.autograd.grad((inputs**3).sum(), inputs)

    refused = graphs.measure_graph(lambda: inputs.sum().item(), device="cuda", budget=ONCE)
    assert refused is not None
    assert "synchronizing" in str(refused.skipped)
    replay = graphs.capture(gradients)
    with torch.no_grad():
        inputs += 1
    found = replay()
    assert isinstance(found, tuple)
    torch.testing.assert_close(found[0], 3 * inputs.detach() ** 2)
    timed = graphs.measure_graph(gradients, device="cuda", budget=ONCE)
    assert timed is not None
    assert timed.timing is not None
