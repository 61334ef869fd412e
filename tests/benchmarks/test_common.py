"""The measuring contract itself: what memory is counted, what a percentile is, whole files."""

import statistics
import time
from pathlib import Path

import pytest
import torch
from benchmarks.common import Budget, describe_machine, measure_times, peak_extra_bytes, timing
from benchmarks.schema import Clock
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

MIB = 2**20


@pytest.fixture(autouse=True)
def quiet_profiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINETO_LOG_LEVEL", "99")


def block(mebibytes: int) -> Tensor:
    return torch.empty(mebibytes * MIB, dtype=torch.uint8)


def test_memory_peaks_where_most_is_held_at_once() -> None:
    def call() -> Tensor:
        first = block(3)
        del first
        second, third = block(1), block(4)
        del second
        return third

    assert peak_extra_bytes(call, device="cpu") == 5 * MIB


def test_memory_held_before_does_not_count_and_its_release_hides_nothing() -> None:
    held = [block(8)]

    def call() -> Tensor:
        held.clear()
        return block(2)

    assert peak_extra_bytes(call, device="cpu") == 2 * MIB


def test_memory_inside_a_custom_op_counts() -> None:
    @torch.library.custom_op("vilseg_benchmarks::hungry", mutates_args=())
    def hungry(values: Tensor) -> Tensor:
        scratch = block(6)
        del scratch
        return values.clone()

    values = block(1)
    assert peak_extra_bytes(lambda: hungry(values), device="cpu") == 6 * MIB


def test_memory_of_the_backward_pass_counts() -> None:
    rows = torch.ones(256, 2, requires_grad=True)

    def call() -> tuple[Tensor, ...]:
        return torch.autograd.grad((rows @ rows.T).logsumexp(1).sum(), rows)

    assert peak_extra_bytes(call, device="cpu") >= 2 * 256 * 256 * rows.itemsize


def test_a_call_that_holds_nothing_peaks_at_nothing() -> None:
    assert peak_extra_bytes(lambda: None, device="cpu") == 0


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=60))
def test_percentiles_bound_three_fifths_of_the_calls(seconds: list[float]) -> None:
    found = timing(seconds)
    assert found.median_s == statistics.median(seconds)
    assert found.repeats == len(seconds)
    within = sum(found.p20_s <= s <= found.p80_s for s in seconds)
    assert within >= 0.6 * len(seconds)
    # Symmetric: turning the order of the times around exchanges the two.
    turned = timing([1.0 + max(seconds) - s for s in seconds])
    assert turned.p20_s == pytest.approx(1.0 + max(seconds) - found.p80_s)


def test_calls_take_turns_within_the_budget_after_a_warm_up() -> None:
    calls: list[str] = []
    budget = Budget(warmup_s=0.0, measure_s=0.0, min_repeats=3, max_repeats=9)
    found = measure_times(
        [lambda: calls.append("a"), lambda: calls.append("b")], device="cpu", budget=budget
    )
    assert [timing.repeats for timing in found] == [3, 3]
    assert "".join(calls) == "ab" + "ab" * 3


def test_a_slow_call_is_spread_over_the_rounds_of_a_quick_one() -> None:
    calls: list[str] = []

    def slow() -> None:
        calls.append("s")
        time.sleep(0.02)

    budget = Budget(warmup_s=0.001, measure_s=0.04, min_repeats=1, max_repeats=8)
    quick, rare = measure_times([lambda: calls.append("q"), slow], device="cpu", budget=budget)
    timed = "".join(calls)[-(quick.repeats + rare.repeats) :]
    assert timed.count("s") == rare.repeats
    assert timed.count("q") == quick.repeats
    assert timed.endswith("qs")


@pytest.mark.parametrize(("clock", "expected"), [("wall", 7.0), ("processor", 3.0)])
def test_the_clock_of_the_cpu_is_the_one_asked_for(
    clock: Clock, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget(warmup_s=0.0, measure_s=0.0, min_repeats=1, max_repeats=1, clock=clock)
    walls, processors = iter([0.0, 1.0, 1.0, 20.0, 27.0]), iter([10.0, 13.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(walls))
    monkeypatch.setattr(time, "process_time", lambda: next(processors))
    [found] = measure_times([lambda: None], device="cpu", budget=budget)
    assert found.median_s == expected
    assert budget.settings(seed=0, quick=True).clock == clock


def test_nothing_to_time_takes_no_time() -> None:
    assert measure_times([], device="cpu", budget=Budget()) == []


def test_the_machine_is_described_without_its_name_or_paths() -> None:
    text = describe_machine("cpu").model_dump_json()
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text
