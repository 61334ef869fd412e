"""A result of benchmarks.evaluation as tables."""

from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table

from benchmarks.evaluation_schema import EvaluationResult, EvaluationRow


def summary(result: EvaluationResult) -> Group:
    """A table of each subject and size, then what was skipped."""
    environment = result.environment
    head = (
        f"{environment.device_name}, {environment.threads} thread(s), "
        f"torch {environment.versions['torch']}, {result.settings.clock} clock"
    )
    grouped = groupby(result.rows, key=lambda row: (row.subject, row.sizes))
    tables = [_table(list(rows)) for _, rows in grouped]
    skipped = Table("subject", "implementation", "reason", title="Not measured", box=SIMPLE_HEAD)
    for row in result.rows:
        if row.skipped is not None:
            skipped.add_row(row.subject, row.implementation, row.skipped)
    return Group(head, *tables, *([skipped] if skipped.row_count else []))


def _table(rows: list[EvaluationRow]) -> Table:
    first = rows[0]
    sizes = ", ".join(f"{name} {value}" for name, value in first.sizes.items())
    table = Table(title=f"{first.subject}: {sizes}", box=SIMPLE_HEAD, title_justify="left")
    table.add_column("implementation", no_wrap=True)
    for name in ("ms/image", "20 %", "80 %", "images/s", "peak MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row.timing is None or row.images_per_s is None:
            continue
        peak = row.peak_extra_bytes
        times = (row.timing.median_s, row.timing.p20_s, row.timing.p80_s)
        table.add_row(
            row.implementation,
            *(f"{seconds / row.images * 1e3:,.3f}" for seconds in times),
            f"{row.images_per_s:,.1f}",
            "" if peak is None else f"{peak / 2**20:,.1f}",
            style="bold" if row.origin == "vilseg" else None,
        )
    return table
