"""Measure decoding, loaders and views beside their peers: python -m benchmarks.data."""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import torch
from PIL import features
from rich.console import Console

import vilseg_data
from benchmarks import common
from benchmarks.command import add_note, begin_parser, check_gpu, saver
from benchmarks.data_decode import decoding, loading
from benchmarks.data_images import Images, draw, read
from benchmarks.data_measure import measure
from benchmarks.data_problems import Inputs, Problem
from benchmarks.data_report import summary
from benchmarks.data_schema import DataResult, DataRow, Subject
from benchmarks.data_views import cropping, undoing
from benchmarks.limits import measure_limits
from benchmarks.loss_report import terminal
from benchmarks.schema import Device, Environment

_SUBJECTS: tuple[Subject, ...] = get_args(Subject)
_ON_CPU: tuple[Subject, ...] = ("decode", "loader")
_PACKAGES = ("pillow", "simplejpeg", "torchvision", "webdataset", "kornia", "vilseg-data")


def run(
    given: argparse.Namespace,
    *,
    images: Images,
    console: Console,
    save: Callable[[DataResult], None] = lambda _: None,
) -> DataResult:
    """Measure what was asked for; after each problem `save` gets what there is by then."""
    budget = replace(common.QUICK if given.quick else common.Budget(), clock="processor")
    started, revision = datetime.now(UTC).replace(microsecond=0), common.revision()
    limits = measure_limits(
        given.device,
        (),
        budget=replace(budget, clock="wall") if given.device == "cuda" else budget,
        quick=given.quick,
    )
    result = DataResult(
        schema_version=1,
        suite="data",
        vilseg_version=vilseg_data.__version__,
        revision=revision,
        created=started,
        note=given.note,
        environment=_environment(given.device),
        settings=budget.settings(seed=given.seed, quick=given.quick),
        copy_bytes_per_s=limits.copy_bytes_per_s,
        images=images.used,
        rows=(),
    )
    rows: list[DataRow] = []
    # Peers draw from torch's global generator.
    devices = [torch.cuda.current_device()] if given.device == "cuda" else []
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices):
        torch.manual_seed(given.seed)
        for problem in _problems(given, images=images, folder=Path(folder)):
            console.print(f"measuring {problem.subject} {problem.sizes}", highlight=False)
            rows += measure(
                problem,
                device=given.device,
                budget=budget,
                copy_bytes_per_s=limits.copy_bytes_per_s,
            )
            result = result.model_copy(update={"rows": tuple(rows)})
            save(result)
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = begin_parser("data", __doc__)
    parser.add_argument("--only", choices=_SUBJECTS, nargs="+", help="these subjects alone")
    parser.add_argument("--batch", type=int, help="images a batch (32; 4 with --quick)")
    parser.add_argument(
        "--images", type=Path, metavar="PATH", help="a folder or a zip of JPEGs, not drawn ones"
    )
    parser.add_argument("--count", type=int, help="how many JPEGs (64; 4 with --quick)")
    parser.add_argument("--seed", type=int, default=0)
    add_note(parser)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the result")
    given = parser.parse_args(arguments)
    given.batch = (4 if given.quick else 32) if given.batch is None else given.batch
    given.count = (4 if given.quick else 64) if given.count is None else given.count
    for name in ("batch", "count"):
        if getattr(given, name) < 1:
            parser.error(f"--{name}: expected at least 1, came {getattr(given, name)}; raise it")
    refused = [name for name in given.only or () if name in _ON_CPU and given.device == "cuda"]
    if refused:
        parser.error(f"--only {refused[0]}: runs on the CPU; leave out --device cuda")
    check_gpu(parser, given.device)
    here = _SUBJECTS if given.device == "cpu" else [s for s in _SUBJECTS if s not in _ON_CPU]
    given.only = tuple(subject for subject in here if subject in (given.only or here))
    try:
        given.images = _images(given)
    except ValueError as error:
        parser.error(str(error))
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse(arguments)
    torch.set_num_threads(1)
    console = terminal()
    save = saver(given.json)
    console.print(summary(run(given, images=given.images, console=console, save=save)))
    if given.json:
        console.print(f"result: {given.json}")


def _images(given: argparse.Namespace) -> Images:
    if given.images is not None:
        return read(given.images, count=given.count)
    width, height = (64, 48) if given.quick else (500, 375)
    return draw(given.count, width=width, height=height, seed=given.seed)


def _problems(given: argparse.Namespace, *, images: Images, folder: Path) -> Iterator[Problem]:
    """One after the other, since each may hold memory and files of its own."""
    size, local = (32, 16) if given.quick else (224, 96)
    batch = [
        vilseg_data.decode_image(images.files[index % len(images.files)], size=size)
        for index in range(given.batch)
    ]
    inputs = Inputs(
        images=images,
        folder=folder,
        batch=torch.stack(batch).to(given.device).float() / 255,
        device=given.device,
        seed=given.seed,
        size=size,
        local=local,
    )
    for subject in given.only:
        if subject == "decode":
            # A JPEG's own scales help from the half downwards.
            yield from (decoding(inputs, size=side) for side in (size, size // 2))
        elif subject == "loader":
            yield loading(inputs, size=size)
        elif subject in ("multicrop", "looks"):
            yield cropping(inputs, looks=subject == "looks")
        else:
            yield undoing(inputs, affine=subject == "affine")


def _environment(device: Device) -> Environment:
    """The machine, with the versions that decide here."""
    environment = common.describe_machine(device, packages=_PACKAGES)
    # Several times as fast as plain libjpeg, which Pillow may have been built with.
    turbo = str(features.version_feature("libjpeg_turbo") or "none")
    versions = environment.versions | {"libjpeg-turbo": turbo}
    return environment.model_copy(update={"versions": versions})


if __name__ == "__main__":
    main()
