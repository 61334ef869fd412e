"""Measure training steps by part, beside the encoders alone: python -m benchmarks.training."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import torch
from rich.console import Console, Group

import vilseg_train
from benchmarks import common
from benchmarks.command import add_result, begin_parser, check_gpu, saver
from benchmarks.limits import measure_limits
from benchmarks.loss_report import terminal
from benchmarks.schema import Clock, Device
from benchmarks.training_measure import caching, measure
from benchmarks.training_problems import PROBLEMS, QUICK, Problem
from benchmarks.training_report import tables
from benchmarks.training_scaling import scaling
from benchmarks.training_schema import TrainingResult, TrainingRow

_BUDGET = common.Budget(measure_s=1.0, min_repeats=2, max_repeats=40)


def run(
    given: argparse.Namespace,
    *,
    console: Console,
    save: Callable[[TrainingResult], None] = lambda _: None,
) -> TrainingResult:
    """Measure what was asked for; `save` gets what there is whenever something was measured."""
    device: Device = given.device
    budget = replace(common.QUICK if given.quick else _BUDGET, clock=given.clock)
    limits = measure_limits(device, [torch.float32], budget=budget, quick=given.quick)
    result = TrainingResult(
        schema_version=1,
        suite="training",
        vilseg_version=vilseg_train.__version__,
        revision=common.revision(),
        created=datetime.now(UTC).replace(microsecond=0),
        note=given.note,
        quick=given.quick,
        clock=given.clock,
        environment=common.describe_machine(device),
        rows=(),
    )
    for problem in QUICK if given.quick else PROBLEMS:
        if problem.name not in given.only:
            continue
        problem = replace(problem, steps=given.steps or problem.steps)
        console.print(f"measuring {problem.name}", highlight=False)
        rows = result.rows
        for row in _rows(problem, given, budget=budget, rate=limits.matrix_flop_per_s["float32"]):
            result = result.model_copy(update={"rows": (*rows, row)})
            save(result)
    return result


def _rows(
    problem: Problem, given: argparse.Namespace, *, budget: common.Budget, rate: float
) -> Iterator[TrainingRow]:
    """The row of a configuration as it grows: steps, memory, processes."""
    device: Device = given.device
    row, trainer = measure(
        problem, device=device, clock=given.clock, budget=budget, flop_per_s=rate
    )
    yield row
    if problem.pairs and "memory" not in given.skip:
        kept = caching(trainer, problem, device=device)
        row = row.model_copy(update={"caching": kept})
        yield row
    if problem.processes and "scaling" not in given.skip:
        times = scaling(problem, device=device)
        yield row.model_copy(update={"scaling": times})


def summary(result: TrainingResult) -> Group:
    """The tables of each configuration."""
    return Group(*(table for row in result.rows for table in tables(row)))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = begin_parser("training", __doc__, quick="tiny, one step: does it run?")
    names = [problem.name for problem in PROBLEMS]
    parser.add_argument("--only", choices=names, nargs="+", default=names)
    parser.add_argument("--skip", choices=("memory", "scaling"), nargs="+", default=())
    parser.add_argument("--steps", type=int, default=0, help="to measure; 0: as many as it has")
    parser.add_argument(
        "--clock", choices=get_args(Clock), default="wall", help="processor: a busy machine"
    )
    add_result(parser)
    given = parser.parse_args(arguments)
    if given.steps < 0:
        parser.error(f"--steps: expected at least 0, came {given.steps}; raise it")
    check_gpu(parser, given.device)
    if given.device == "cuda" and given.clock == "processor":
        parser.error("--clock processor: is that of a CPU; leave out --device cuda")
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse(arguments)
    torch.set_num_threads(1)
    console = terminal()
    console.print(summary(run(given, console=console, save=saver(given.json))))


if __name__ == "__main__":
    main()
