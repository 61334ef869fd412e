"""Measure the losses beside their peers: python -m benchmarks.losses --device cpu|cuda."""

import argparse
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

import vilseg_core
from benchmarks import common
from benchmarks.limits import dtype_name, measure_limits, roofline_fraction
from benchmarks.loss_contenders import Contender, LossFunction, Unavailable, contenders
from benchmarks.loss_problems import LOSSES, QUICK, SWEEPS, Problem, describe
from benchmarks.loss_report import plot, summary
from benchmarks.schema import Device, Limits, Result, Row, Work, result_name, without_paths

RESULTS = Path(__file__).parent / "results"
WORKS: tuple[Work, ...] = ("forward", "forward_backward")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_QUICK = common.Budget(warmup_s=0.0, measure_s=0.0, min_repeats=1, max_repeats=1)


@dataclass(frozen=True)
class Options:
    """What one run measures and under which bounds."""

    device: Device
    losses: tuple[str, ...]
    dtypes: tuple[torch.dtype, ...]
    compiled: bool
    memory_limit: float
    seed: int
    quick: bool

    @property
    def budget(self) -> common.Budget:
        return _QUICK if self.quick else common.Budget()


def run(options: Options, *, note: str = "", console: Console | None = None) -> Result:
    """Measure everything the options ask for; a row is measured or says why it was skipped."""
    sweep = QUICK if options.quick else SWEEPS[options.device]
    problems = list(sweep.problems(losses=options.losses, dtypes=options.dtypes))
    console = console or Console(quiet=True)
    started, revision = datetime.now(UTC).replace(microsecond=0), common.revision()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring the machine", total=len(problems))
        limits = measure_limits(
            options.device, options.dtypes, budget=options.budget, quick=options.quick
        )
        rows: list[Row] = []
        for problem in problems:
            if not console.is_terminal:
                console.print(describe(problem))
            field = contenders(problem, compiled=options.compiled)
            for work in WORKS:
                progress.update(task, description=f"{describe(problem)} {work}")
                rows += measure(field, problem, work=work, options=options, limits=limits)
            progress.advance(task)
    return Result(
        schema_version=1,
        suite="losses",
        vilseg_version=vilseg_core.__version__,
        revision=revision,
        created=started,
        note=note,
        environment=common.describe_machine(options.device),
        settings=options.budget.settings(seed=options.seed, quick=options.quick),
        limits=limits,
        rows=tuple(rows),
    )


def measure(
    field: Sequence[Contender], problem: Problem, *, work: Work, options: Options, limits: Limits
) -> list[Row]:
    """A row of each; a refusal or a lack of memory is a reason, other errors of vilseg's rise."""
    inputs = problem.inputs(options.device, seed=options.seed)
    found = [_prepare(one, problem, inputs, work=work, options=options) for one in field]
    calls = [one.call for one in found if isinstance(one, _Ready)]
    device = options.device
    timings = iter(common.measure_times(calls, device=device, budget=options.budget))
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
            "least_bytes": least_bytes,
            "least_flop": least_flop,
            "comparable": contender.comparable,
        }
        if isinstance(ready, str):
            numbers = dict.fromkeys(("timing", "peak_extra_bytes", "roofline_fraction", "value"))
            rows.append(Row.model_validate({**head, **numbers, "skipped": ready}))
            continue
        timing = next(timings)
        numbers = {
            "timing": timing,
            "peak_extra_bytes": common.peak_extra_bytes(ready.call, device=device),
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


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.losses", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one call: does it run?")
    parser.add_argument("--loss", choices=LOSSES, nargs="+", default=LOSSES)
    parser.add_argument("--dtype", choices=_DTYPES, nargs="+", default=["float32", "bfloat16"])
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="also measure torch.compile (default: on cuda only)",
    )
    parser.add_argument("--memory-limit", type=float, metavar="GIB", help="skip what needs more")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on the CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--note", default="", help="what a reader must know of the circumstances")
    parser.add_argument(
        "--json",
        nargs="?",
        type=Path,
        const=RESULTS,
        metavar="PATH",
        help="write the result; without PATH where committed results lie",
    )
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write one PNG a loss and dtype")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse(arguments)
    # The CPU's memory is read from the profiler, which logs each start and stop.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    torch.set_num_threads(given.threads)
    device: Device = given.device
    limit = given.memory_limit * 2**30 if given.memory_limit else _default_limit(device)
    options = Options(
        device=device,
        losses=tuple(given.loss),
        dtypes=tuple(_DTYPES[name] for name in given.dtype),
        compiled=device == "cuda" if given.compile is None else given.compile,
        memory_limit=limit,
        seed=given.seed,
        quick=given.quick,
    )
    console = Console()
    if not console.is_terminal:
        console.width = 140
    result = run(options, note=given.note, console=console)
    console.print(summary(result))
    if given.json:
        path = given.json
        if path == RESULTS:
            path = RESULTS / result.vilseg_version / result_name("losses", result.environment)
        common.write_result(path, result)
        console.print(f"result: {path}")
    if given.plots:
        for path in plot(result, folder=given.plots):
            console.print(f"plot: {path}")


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
    except (Unavailable, torch.OutOfMemoryError, *refusals) as error:
        return _reason(error)
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


def _reason(error: Exception) -> str:
    first = next(iter(str(error).splitlines()), "")
    named = first if isinstance(error, Unavailable) else f"{type(error).__name__}: {first}"
    return without_paths(named)[:300]


def _default_limit(device: Device) -> float:
    """Nine tenths of the GPU's free memory; 4 GiB on the CPU, which others share."""
    return 0.9 * torch.cuda.mem_get_info()[0] if device == "cuda" else 4 * 2**30


if __name__ == "__main__":
    main()
