"""What the commands share: their first and last arguments, and where a result goes."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import torch

from benchmarks.common import write_result
from benchmarks.schema import Device, Run, result_name

RESULTS = Path(__file__).parent / "results"


def begin_parser(
    suite: str, description: str | None, *, quick: str = "tiny sizes, one call: does it run?"
) -> argparse.ArgumentParser:
    """A parser with --device and --quick."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{suite}", description=description)
    parser.add_argument("--device", choices=get_args(Device), default="cpu")
    parser.add_argument("--quick", action="store_true", help=quick)
    return parser


def add_result(parser: argparse.ArgumentParser) -> None:
    """--note, and --json, which without a path means where committed results lie."""
    add_note(parser)
    parser.add_argument(
        "--json",
        nargs="?",
        type=Path,
        const=RESULTS,
        metavar="PATH",
        help="write the result; without PATH where committed results lie",
    )


def add_note(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--note", default="", help="what a reader must know of the circumstances")


def check_gpu(parser: argparse.ArgumentParser, device: Device) -> None:
    """End with an error where a GPU is asked for and torch finds none."""
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU; leave it out")


def saver(given: Path | None) -> Callable[[Run], None]:
    """Writes a result to the path that --json gave, or does nothing where it gave none."""

    def save(result: Run) -> None:
        if given is not None:
            write_result(place(given, result), result)

    return save


def place(given: Path, result: Run) -> Path:
    """The file of a result: that which was given, or its own among the committed ones."""
    if given != RESULTS:
        return given
    return RESULTS / result.vilseg_version / result_name(result.suite, result.environment)
