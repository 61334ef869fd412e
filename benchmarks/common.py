"""Timing, peak extra memory, the description of the machine, and atomic files.

The contract they keep is written in benchmarks/README.md.
"""

import gc
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import accumulate
from pathlib import Path

import torch
from pydantic import BaseModel
from torch.profiler import ProfilerActivity, profile

from benchmarks.schema import Clock, Device, Environment, Settings, Timing

# Larger than any last-level cache, so that a call on the GPU finds its inputs in memory.
_FLUSH_BYTES = 256 * 2**20
_PACKAGES = (
    "torch",
    "triton",
    "numpy",
    "vilseg-core",
    "open-clip-torch",
    "lightly",
    "info-nce-pytorch",
)


@dataclass(frozen=True)
class Budget:
    """How long to warm up and to measure, the least and most calls to time, and by which clock."""

    warmup_s: float = 0.2
    measure_s: float = 0.5
    min_repeats: int = 5
    max_repeats: int = 200
    clock: Clock = "wall"

    def settings(self, *, seed: int, quick: bool) -> Settings:
        return Settings(
            seed=seed,
            quick=quick,
            clock=self.clock,
            warmup_s=self.warmup_s,
            measure_s=self.measure_s,
            min_repeats=self.min_repeats,
            max_repeats=self.max_repeats,
        )


QUICK = Budget(warmup_s=0.0, measure_s=0.0, min_repeats=1, max_repeats=1)
"""One call, to see whether it runs."""


def measure_times(
    calls: Sequence[Callable[[], object]], *, device: Device, budget: Budget
) -> list[Timing]:
    """Time each of `calls` after warming up; at least one call warms up, whatever the budget.

    They take turns, each spread evenly over the rounds, so that what else the machine does in the
    meantime falls on all of them alike.
    """
    wanted = []
    for call in calls:
        estimate = _warm_up(call, device=device, budget=budget)
        fitting = round(budget.measure_s / max(estimate, 1e-9))
        wanted.append(min(max(fitting, budget.min_repeats), budget.max_repeats))
    rounds = max(wanted, default=0)
    clock = _cuda_clock() if device == "cuda" else _cpu_clock(budget.clock)
    seconds: list[list[float]] = [[] for _ in calls]
    enabled = gc.isenabled()
    gc.disable()
    try:
        for turn in range(rounds):
            for call, count, taken in zip(calls, wanted, seconds, strict=True):
                if (turn + 1) * count // rounds > turn * count // rounds:
                    taken.append(clock(call))
    finally:
        if enabled:
            gc.enable()
    return [timing(taken) for taken in seconds]


def timing(seconds: Sequence[float]) -> Timing:
    """Median and percentiles of the times of single calls."""
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return Timing(
        median_s=statistics.median(ordered),
        p20_s=ordered[int(0.2 * last)],
        p80_s=ordered[-1 - int(0.2 * last)],
        repeats=len(ordered),
    )


def peak_extra_bytes(call: Callable[[], object], *, device: Device) -> int:
    """The most bytes of tensors that `call` holds at once beyond those held before it.

    What it returns counts. On the GPU this is the caching allocator's own peak; on the CPU the
    running sum over every allocation and release that torch's allocator reports to the profiler.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = int(torch.cuda.memory_allocated())
        result = call()
        torch.cuda.synchronize()
        del result
        return int(torch.cuda.max_memory_allocated()) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = call()
    del result
    assert recorded.profiler is not None
    assert recorded.profiler.kineto_results is not None
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate((int(event.nbytes()) for event in events), initial=0))


def describe_machine(device: Device, *, packages: Sequence[str] = ()) -> Environment:
    """Names and versions; no host name, no path.

    packages: whose versions are of interest beside the usual ones.
    """
    cpu = _cpu_name()
    versions = {"python": platform.python_version()}
    versions |= _installed(_PACKAGES)
    if device == "cuda":
        versions["cuda"] = str(torch.version.cuda)
    versions |= _installed(packages)
    return Environment(
        device=device,
        device_name=torch.cuda.get_device_name() if device == "cuda" else cpu,
        cpu_name=cpu,
        system=f"{platform.system()} {platform.machine()}",
        threads=torch.get_num_threads(),
        float32_matmul_precision=torch.get_float32_matmul_precision(),
        versions=versions,
    )


def revision() -> str | None:
    """The commit of this checkout, `-dirty` where files differ from it; None outside git."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def write_result(path: Path, result: BaseModel) -> None:
    """Write the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _warm_up(call: Callable[[], object], *, device: Device, budget: Budget) -> float:
    calls = 0
    start = time.perf_counter()
    # The first call may compile; the estimate of one call's time is taken without it.
    call()
    _synchronise(device)
    first = time.perf_counter() - start
    while (spent := time.perf_counter() - start - first) < budget.warmup_s and first < 1.0:
        call()
        _synchronise(device)
        calls += 1
    return spent / calls if calls else first


def _cpu_clock(clock: Clock) -> Callable[[Callable[[], object]], float]:
    now = time.perf_counter if clock == "wall" else time.process_time

    def seconds(call: Callable[[], object]) -> float:
        start = now()
        result = call()
        taken = now() - start
        del result
        # The clock may not have moved over a call of nothing.
        return max(taken, 1e-9)

    return seconds


def _cuda_clock() -> Callable[[Callable[[], object]], float]:
    flush = torch.empty(_FLUSH_BYTES, dtype=torch.uint8, device="cuda")

    def seconds(call: Callable[[], object]) -> float:
        start, end = (torch.Event("cuda", enable_timing=True) for _ in range(2))
        flush.zero_()
        start.record()
        result = call()
        end.record()
        end.synchronize()
        del result
        return start.elapsed_time(end) / 1e3

    return seconds


def _synchronise(device: Device) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _installed(packages: Sequence[str]) -> dict[str, str]:
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
