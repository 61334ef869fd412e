"""`vilseg train --dry-run`: what a run would cost and what it lacks, before it begins."""

import os
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table

from vilseg_data import CaptionSource, ShardStream, build_captions
from vilseg_data.captions.locations import find_shards, is_remote
from vilseg_train.config import RunConfig
from vilseg_train.estimate import Estimate, Work, estimate
from vilseg_train.missing import find_missing
from vilseg_train.progress import say

_PARTS = {
    "image_encoder": "image encoder",
    "text_encoder": "text encoder",
    "clustering_head": "clustering head",
    "projection": "prototypes",
}


def dry_run(config: RunConfig, *, console: Console) -> list[str]:
    """Print what `config` costs on the processes it is made for; return what is missing.

    Under torchrun the processes that there are count as there; only the first one prints.
    """
    here = int(os.environ.get("WORLD_SIZE", "1"))
    plan = estimate(config, processes=max(here, config.train.processes))
    lacking = find_missing(config, processes=here)
    if int(os.environ.get("RANK", "0")) == 0:
        for table in estimate_tables(plan, config):
            console.print(table)
        say(console, epoch_line(config, lacking=lacking))
        for line in lacking:
            say(console, f"missing: {line}")
        say(console, "nothing could start yet" if lacking else "everything is there to start")
    return lacking


def estimate_tables(plan: Estimate, config: RunConfig) -> list[Table]:
    """Parameters, work, memory and messages as tables; each ends with its total.

    Memory is what is alive at the end of the forward pass. It is at most that: attention matrices
    count as kept, which fused attention does not keep.
    """
    parameters = _table(f"Parameters of {config.name}", ["part", "number"])
    for name, number in plan.parameters.items():
        parameters.add_row(_PARTS.get(name, name), f"{number:,}  {number / 1e6:.2f} M")
    whole = sum(plan.parameters.values())
    _total(parameters, f"{whole:,}  {whole / 1e6:.2f} M")

    images = f"{plan.images} image{'s' * (plan.images > 1)}"
    work = _table(
        f"A step of one process of {plan.processes}, {images}: GFLOP and MiB kept",
        ["part", "forward", "backward", "kept for backward"],
    )
    for name, part in plan.work.items():
        work.add_row(name, *_work_cells(part))
    _total(work, *_work_cells(plan.total_work))

    memory = _table("Memory of one process, float32, at most", ["for", "MiB"])
    _fill(memory, plan.memory.items())
    tables = [parameters, work, memory]
    if plan.wire:
        wire = _table("Sent by one process a step", ["what", "MiB"])
        _fill(wire, plan.wire.items())
        tables.append(wire)
    return tables


def epoch_line(config: RunConfig, *, lacking: Sequence[str]) -> str:
    """How many samples an epoch has, as far as that is known, and how many epochs the run."""
    known = not any(line.startswith("data:") for line in lacking)
    count, how = _samples(config) if known else (None, "")
    shown = config.train.steps * config.train.batch_size
    steps = f"{config.train.steps:,} steps of {config.train.batch_size} show {shown:,} images"
    if not count:
        return f"{steps}; samples an epoch: unknown before the data is there"
    return f"{steps}; samples an epoch: {count:,}{how}, so {shown / count:.1f} epochs"


def _samples(config: RunConfig) -> tuple[int | None, str]:
    if not config.data.stream:
        source: CaptionSource = build_captions(config.data)
        return len(source), ""
    assert config.data.shards is not None
    shards = find_shards(config.data.shards)
    if is_remote(shards[0]):
        return None, ""
    stream = ShardStream(shards[0], seed=0, shuffle=0, captions="all")
    first = sum(1 for _ in groupby(stream, key=lambda sample: sample.key))
    return first * len(shards), f" (that of the first of {len(shards)} shards, times their number)"


def _table(title: str, heading: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, cell in enumerate(heading):
        table.add_column(cell, justify="left" if number == 0 else "right")
    return table


def _fill(table: Table, rows: Iterable[tuple[str, int]]) -> None:
    total = 0
    for name, number in rows:
        total += number
        table.add_row(name, _mib(number))
    _total(table, _mib(total))


def _total(table: Table, *cells: str) -> None:
    table.add_section()
    table.add_row("total", *cells)


def _work_cells(work: Work) -> tuple[str, str, str]:
    return f"{work.forward / 1e9:,.1f}", f"{work.backward / 1e9:,.1f}", _mib(work.kept)


def _mib(number: int) -> str:
    return f"{number / 2**20:,.1f}"
