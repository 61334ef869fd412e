"""Measure segmenters, their stages, the score and word lists: python -m benchmarks.evaluation."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import torch
from rich.console import Console

import vilseg_eval
from benchmarks import common
from benchmarks.command import add_result, begin_parser, check_gpu, saver
from benchmarks.data_images import draw, read
from benchmarks.data_problems import Contender, Unavailable
from benchmarks.evaluation_models import SIZES
from benchmarks.evaluation_problems import SUBJECTS, Inputs, Problem
from benchmarks.evaluation_report import summary
from benchmarks.evaluation_schema import EvaluationResult, EvaluationRow, Subject
from benchmarks.loss_report import terminal
from benchmarks.schema import Clock, Device, reason

_PACKAGES = ("timm", "scikit-learn", "transformers", "torchmetrics", "vilseg-eval", "pillow")


def run(
    given: argparse.Namespace,
    *,
    console: Console,
    save: Callable[[EvaluationResult], None] = lambda _: None,
) -> EvaluationResult:
    """Measure what was asked for; after each problem `save` gets what there is by then."""
    budget = replace(common.QUICK if given.quick else common.Budget(), clock=given.clock)
    result = EvaluationResult(
        schema_version=1,
        suite="evaluation",
        vilseg_version=vilseg_eval.__version__,
        revision=common.revision(),
        created=datetime.now(UTC).replace(microsecond=0),
        note=given.note,
        environment=common.describe_machine(given.device, packages=_PACKAGES),
        settings=budget.settings(seed=given.seed, quick=given.quick),
        rows=(),
    )
    width, height = (64, 48) if given.quick else (500, 375)
    files = (
        draw(1, width=width, height=height, seed=given.seed)
        if given.image is None
        else read(given.image, count=1)
    )
    inputs = Inputs.of(
        files, device=given.device, seed=given.seed, quick=given.quick, models=given.model
    )
    rows: list[EvaluationRow] = []
    with torch.random.fork_rng(devices=[]):
        for problem in _problems(given.only, inputs):
            console.print(f"measuring {problem.subject} {problem.sizes}", highlight=False)
            rows += measure(problem, device=given.device, budget=budget)
            result = result.model_copy(update={"rows": tuple(rows)})
            save(result)
    return result


def measure(problem: Problem, *, device: Device, budget: common.Budget) -> list[EvaluationRow]:
    """A row of each contender, which take turns: measured, or skipped with the reason."""
    with ExitStack() as stack:
        ready = [_prepare(contender, stack) for contender in problem.contenders]
        calls = [call for call in ready if not isinstance(call, str)]
        times = iter(common.measure_times(calls, device=device, budget=budget))
        rows = []
        for contender, call in zip(problem.contenders, ready, strict=True):
            skipped = isinstance(call, str)
            rows.append(
                EvaluationRow(
                    subject=problem.subject,
                    implementation=contender.name,
                    origin=contender.origin,
                    images=problem.images,
                    sizes=problem.sizes,
                    timing=None if skipped else next(times),
                    peak_extra_bytes=common.peak_extra_bytes(call, device=device)
                    if problem.memory and not isinstance(call, str)
                    else None,
                    skipped=call if isinstance(call, str) else None,
                )
            )
    return rows


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    subjects = get_args(Subject)
    parser = begin_parser("evaluation", __doc__)
    parser.add_argument("--only", choices=subjects, nargs="+", default=subjects)
    parser.add_argument("--model", choices=tuple(SIZES), nargs="+", default=tuple(SIZES))
    parser.add_argument("--clock", choices=get_args(Clock), default="wall")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument(
        "--image", type=Path, metavar="PATH", help="a folder or a zip with a JPEG, not a drawn one"
    )
    parser.add_argument("--seed", type=int, default=0)
    add_result(parser)
    given = parser.parse_args(arguments)
    if given.threads < 1:
        parser.error(f"--threads: expected at least 1, came {given.threads}; raise it")
    if given.clock == "processor" and given.threads > 1:
        parser.error("--clock processor: adds up all threads; use --threads 1 or the wall clock")
    check_gpu(parser, given.device)
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse(arguments)
    torch.set_num_threads(given.threads)
    console = terminal()
    console.print(summary(run(given, console=console, save=saver(given.json))))


def _problems(only: Sequence[Subject], inputs: Inputs) -> Iterator[Problem]:
    for subject, problems in SUBJECTS.items():
        if subject in only:
            yield from problems(inputs)


def _prepare(contender: Contender, stack: ExitStack) -> Callable[[], object] | str:
    """Build and run it once, or the reason why not; vilseg has no reason to refuse."""
    refusals = () if contender.origin == "vilseg" else (Exception,)
    try:
        call = contender.build(stack)
        call()
    except Unavailable as error:
        return str(error)
    except refusals as error:
        return reason(error)
    return call


if __name__ == "__main__":
    main()
