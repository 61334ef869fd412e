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
            for contender in contenders(problem, compiled=options.compiled):
                progress.update(task, description=f"{describe(problem)}: {contender.name}")
                rows += (
                    measure(contender, problem, work=work, options=options, limits=limits)
                    for work in WORKS
                )
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
    contender: Contender, problem: Problem, *, work: Work, options: Options, limits: Limits
) -> Row:
    """One row. A refusal or a lack of memory is a reason; any other error of vilseg's is raised."""
    bytes_, flop = problem.least_bytes(work), problem.least_flop(work)
    head = {
        "loss": problem.loss,
        "implementation": contender.name,
        "origin": contender.origin,
        "dtype": dtype_name(problem.dtype),
        "work": work,
        "sizes": problem.sizes,
        "least_bytes": bytes_,
        "least_flop": flop,
        "comparable": contender.comparable,
    }
    nothing = {"timing": None, "peak_extra_bytes": None, "roofline_fraction": None, "value": None}
    # A peer may refuse in its own way, with an error of any kind; vilseg refuses with ValueError.
    refusals = (ValueError,) if contender.origin == "vilseg" else (Exception,)
    try:
        if contender.needs(problem) > options.memory_limit:
            raise Unavailable(
                f"would need about {contender.needs(problem) / 2**30:.1f} GiB, the limit is "
                f"{options.memory_limit / 2**30:.1f} GiB (--memory-limit)"
            )
        call = _call(contender.build(), problem, work=work, options=options)
        value = call()[0].item()
        if not math.isfinite(value):
            raise Unavailable(f"its loss is {value}")
        timing = common.measure_time(call, device=options.device, budget=options.budget)
        peak = common.peak_extra_bytes(call, device=options.device)
    except (Unavailable, torch.OutOfMemoryError, *refusals) as error:
        return Row.model_validate({**head, **nothing, "skipped": _reason(error)})
    fraction = roofline_fraction(
        limits,
        least_bytes=bytes_,
        least_flop=flop,
        dtype=problem.dtype,
        median_s=timing.median_s,
    )
    found = {"timing": timing, "peak_extra_bytes": peak, "roofline_fraction": fraction}
    return Row.model_validate({**head, **found, "value": value, "skipped": None})


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
        console.width = 120
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


def _call(
    function: LossFunction, problem: Problem, *, work: Work, options: Options
) -> Callable[[], tuple[Tensor, ...]]:
    inputs = problem.inputs(options.device, seed=options.seed)

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
