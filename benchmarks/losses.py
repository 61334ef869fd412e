"""Measure the losses beside their peers: python -m benchmarks.losses --device cpu|cuda."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import torch
from rich.console import Console
from rich.progress import Progress

import vilseg_core
from benchmarks import common
from benchmarks.command import RESULTS, add_result, begin_parser, place, saver
from benchmarks.limits import measure_limits
from benchmarks.loss_contenders import contenders
from benchmarks.loss_measure import WORKS, Options, measure
from benchmarks.loss_plots import plot
from benchmarks.loss_problems import LOSSES, QUICK, Problem, describe, parse_point, sweep
from benchmarks.loss_report import summary, terminal
from benchmarks.loss_targets import TARGETS
from benchmarks.schema import Clock, Device, Result, Row

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def run(
    options: Options,
    *,
    note: str = "",
    console: Console | None = None,
    save: Callable[[Result], None] = lambda _: None,
) -> Result:
    """Measure everything the options ask for; a row is measured or says why it was skipped.

    After each problem `save` gets what there is by then: time on a machine may end early.
    """
    console = console or Console(quiet=True)
    started, revision = datetime.now(UTC).replace(microsecond=0), common.revision()
    rows: list[Row] = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring the machine", total=len(options.problems))
        limits = measure_limits(
            options.device, options.dtypes, budget=options.budget, quick=options.quick
        )
        result = Result(
            schema_version=2,
            suite="losses",
            vilseg_version=vilseg_core.__version__,
            revision=revision,
            created=started,
            note=note,
            environment=common.describe_machine(options.device),
            settings=options.budget.settings(seed=options.seed, quick=options.quick),
            limits=limits,
            rows=(),
        )
        for problem in options.problems:
            if not console.is_terminal:
                console.print(describe(problem))
            field = contenders(problem, compiled=options.compiled)
            for work in options.works:
                progress.update(task, description=f"{describe(problem)} {work}")
                rows += measure(field, problem, work=work, options=options, limits=limits)
            progress.advance(task)
            result = result.model_copy(update={"rows": tuple(rows)})
            save(result)
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = begin_parser("losses", __doc__)
    parser.add_argument("--loss", choices=LOSSES, nargs="+", default=LOSSES)
    parser.add_argument("--dtype", choices=_DTYPES, nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--work", choices=WORKS, nargs="+", default=WORKS)
    parser.add_argument(
        "--only",
        nargs="+",
        type=_point,
        metavar="POINT",
        help="these sizes in place of the sweep, as n=150528,c=25 or n=8192,d=512",
    )
    parser.add_argument("--targets", action="store_true", help="only the sizes that targets name")
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="also measure torch.compile (default: on cuda only)",
    )
    parser.add_argument("--memory-limit", type=float, metavar="GIB", help="skip what needs more")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on the CPU")
    parser.add_argument(
        "--clock",
        choices=get_args(Clock),
        default="wall",
        help="of the CPU: processor time leaves out what other processes take",
    )
    parser.add_argument("--seed", type=int, default=0)
    add_result(parser)
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write one PNG a loss and dtype")
    given = parser.parse_args(arguments)
    if not problems(given):
        parser.error("nothing to measure: --only, --targets, --loss and --dtype exclude each other")
    if given.clock == "processor" and (given.device == "cuda" or given.threads > 1):
        parser.error("--clock processor: it adds up threads and does not see a GPU; leave it out")
    if given.json == RESULTS and (given.quick or given.only or given.targets):
        parser.error("--json without PATH writes the committed result of a whole sweep; add a PATH")
    return given


def problems(given: argparse.Namespace) -> tuple[Problem, ...]:
    """What was asked for, in the order of the dtypes, each problem once."""
    found: list[Problem] = []
    for dtype in (_DTYPES[name] for name in given.dtype):
        if given.only:
            found += [replace(point, dtype=dtype) for point in given.only]
        elif given.targets:
            found += [
                t.problem for t in TARGETS if (t.device, t.problem.dtype) == (given.device, dtype)
            ]
        else:
            found += (QUICK if given.quick else sweep(given.device, dtype)).problems(dtype)
    return tuple(dict.fromkeys(problem for problem in found if problem.loss in given.loss))


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse(arguments)
    # The CPU's memory is read from the profiler, which logs each start and stop.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    torch.set_num_threads(given.threads)
    device: Device = given.device
    limit = given.memory_limit * 2**30 if given.memory_limit else _default_limit(device)
    options = Options(
        device=device,
        problems=problems(given),
        works=tuple(given.work),
        compiled=device == "cuda" if given.compile is None else given.compile,
        memory_limit=limit,
        seed=given.seed,
        quick=given.quick,
        clock=given.clock,
    )
    console = terminal()
    result = run(options, note=given.note, console=console, save=saver(given.json))
    console.print(summary(result))
    if given.json:
        console.print(f"result: {place(given.json, result)}")
    if given.plots:
        for path in plot(result, folder=given.plots):
            console.print(f"plot: {path}")


def _point(text: str) -> Problem:
    try:
        return parse_point(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _default_limit(device: Device) -> float:
    """Nine tenths of the GPU's free memory; 4 GiB on the CPU, which others share."""
    return 0.9 * torch.cuda.mem_get_info()[0] if device == "cuda" else 4 * 2**30


if __name__ == "__main__":
    main()
