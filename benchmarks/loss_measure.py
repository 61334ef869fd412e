"""One problem at a time: who takes part, and a row of each."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks import common
from benchmarks.graphs import measure_graph
from benchmarks.limits import dtype_name, roofline_fraction
from benchmarks.loss_contenders import Contender, LossFunction, Unavailable
from benchmarks.loss_problems import Problem
from benchmarks.schema import Clock, Device, Limits, Row, Work, reason

WORKS: tuple[Work, ...] = ("forward", "forward_backward")


@dataclass(frozen=True)
class Options:
    """What one run measures and under which bounds."""

    device: Device
    problems: tuple[Problem, ...]
    works: tuple[Work, ...]
    compiled: bool
    memory_limit: float
    seed: int
    quick: bool
    clock: Clock = "wall"

    @property
    def budget(self) -> common.Budget:
        return replace(common.QUICK if self.quick else common.Budget(), clock=self.clock)

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        return tuple(dict.fromkeys(problem.dtype for problem in self.problems))


def measure(
    field: Sequence[Contender], problem: Problem, *, work: Work, options: Options, limits: Limits
) -> list[Row]:
    """A row of each; a refusal or a lack of memory is a reason, other errors of vilseg's rise."""
    inputs = problem.inputs(options.device, seed=options.seed)
    found = [_prepare(one, problem, inputs, work=work, options=options) for one in field]
    calls = [one.call for one in found if isinstance(one, _Ready)]
    device, budget = options.device, options.budget
    timings = iter(common.measure_times(calls, device=device, budget=budget))
    rows = []
    for contender, ready in zip(field, found, strict=True):
        least_bytes, least_flop = problem.least_bytes(work), problem.least_flop(work)
        head = {
            "loss": problem.loss,
            "implementation": contender.name,
            "origin": contender.origin,
            "dtype": dtype_name(problem.dtype),
            "work": work,
            "sizes": problem.sizes,
            "layout": problem.layout,
            "least_bytes": least_bytes,
            "least_flop": least_flop,
            "comparable": contender.comparable,
        }
        if isinstance(ready, str):
            names = ("timing", "graph", "peak_extra_bytes", "roofline_fraction", "value")
            rows.append(Row.model_validate({**head, **dict.fromkeys(names), "skipped": ready}))
            continue
        timing = next(timings)
        numbers = {
            "timing": timing,
            "peak_extra_bytes": common.peak_extra_bytes(ready.call, device=device),
            # One after the other: each graph holds the memory of its call until it is gone.
            "graph": measure_graph(ready.call, device=device, budget=budget),
            "roofline_fraction": roofline_fraction(
                limits,
                least_bytes=least_bytes,
                least_flop=least_flop,
                dtype=problem.dtype,
                median_s=timing.median_s,
            ),
            "value": ready.value,
        }
        rows.append(Row.model_validate({**head, **numbers, "skipped": None}))
    return rows


@dataclass(frozen=True)
class _Ready:
    """A contender that has run once: its call and its loss."""

    call: Callable[[], tuple[Tensor, ...]]
    value: float


def _prepare(
    contender: Contender,
    problem: Problem,
    inputs: tuple[Tensor, ...],
    *,
    work: Work,
    options: Options,
) -> _Ready | str:
    """Build and run it once, or the reason why not."""
    needed = contender.needs(problem)
    if needed > options.memory_limit:
        return (
            f"would need about {needed / 2**30:.1f} GiB, the limit is "
            f"{options.memory_limit / 2**30:.1f} GiB (--memory-limit)"
        )
    # A peer may refuse in its own way, with an error of any kind; vilseg refuses with ValueError.
    refusals = (ValueError,) if contender.origin == "vilseg" else (Exception,)
    try:
        call = _call(contender.build(), inputs, work=work)
        value = call()[0].item()
    except Unavailable as error:
        return str(error)
    except (torch.OutOfMemoryError, *refusals) as error:
        return reason(error)
    return _Ready(call, value) if math.isfinite(value) else f"its loss is {value}"


def _call(
    function: LossFunction, inputs: tuple[Tensor, ...], *, work: Work
) -> Callable[[], tuple[Tensor, ...]]:
    def forward() -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (function(*inputs),)

    def forward_backward() -> tuple[Tensor, ...]:
        loss = function(*inputs)
        # A peer with a fixed scale has no gradient for it.
        return (loss.detach(), *torch.autograd.grad(loss, inputs, allow_unused=True))

    return forward if work == "forward" else forward_backward
