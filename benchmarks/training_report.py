"""Tables of benchmarks.training: where a step goes, the encoders alone, memory, processes."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from benchmarks.training_schema import TrainingRow


def tables(row: TrainingRow) -> Iterator[Table]:
    """All that a row holds."""
    yield _parts(row)
    yield _encoders(row)
    if row.caching is not None:
        kept = row.caching
        title = f"Memory of the contrastive step of {kept.batch} pairs"
        table = _table(title, ("", "MiB", "share"))
        table.add_row("plain", f"{kept.plain_bytes / 2**20:.1f}", "100%")
        share = f"{kept.cached_bytes / kept.plain_bytes:.1%}"
        table.add_row(f"{kept.chunk} at a time", f"{kept.cached_bytes / 2**20:.1f}", share)
        yield table
    if row.scaling:
        table = _table("Processes", ("processes", "batch", "ms", "images/s", "times one"))
        for one in row.scaling:
            times = one.images_per_s / row.scaling[0].images_per_s
            numbers = (f"{1e3 * one.step_s:.1f}", f"{one.images_per_s:.1f}", f"{times:.2f}")
            table.add_row(str(one.processes), str(one.batch), *numbers)
        yield table


def _parts(row: TrainingRow) -> Table:
    title = (
        f"{row.name}, batch {row.batch}, {row.parameters / 1e6:.2f} M parameters: "
        f"{1e3 * row.step_s:.1f} ms a step, {row.images_per_s:.1f} images/s, "
        f"{row.utilisation:.0%} of the FLOP/s of a square product"
    )
    table = _table(title, ("part", "ms", "share of the step"))
    for part, seconds in row.parts.items():
        table.add_row(part, f"{1e3 * seconds:.1f}", f"{seconds / row.step_s:.1%}")
    return table


def _encoders(row: TrainingRow) -> Table:
    table = _table("Encoders alone", ("part", "forward, ms", "with backward, ms", "share"))
    for name, time in row.encoders.items():
        forward, step = time.forward.median_s, time.step.median_s
        share = f"{step / row.step_s:.1%}"
        table.add_row(name, f"{1e3 * forward:.1f}", f"{1e3 * step:.1f}", share)
    table.add_section()
    rest = f"{1e3 * (row.step_s - row.bare_s):.1f}"
    table.add_row("all that is not", "", rest, f"{row.overhead:.1%}")
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table
