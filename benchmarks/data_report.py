"""A result of benchmarks.data as tables."""

from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table

from benchmarks.data_schema import DataResult, DataRow


def summary(result: DataResult) -> Group:
    """A table of each subject and size, then what was skipped."""
    environment, images = result.environment, result.images
    head = (
        f"{environment.device_name}, {environment.threads} thread(s), "
        f"torch {environment.versions['torch']}: copy {result.copy_bytes_per_s / 1e9:.4g} GB/s\n"
        f"{images.count} JPEGs ({images.source}), {images.mean_width:.0f} x "
        f"{images.mean_height:.0f} and {images.mean_bytes / 1e3:.1f} kB on average"
    )
    if images.quality is not None:
        head += f", quality {images.quality}"
    grouped = groupby(result.rows, key=lambda row: (row.subject, row.sizes, row.limit))
    tables = [_table(list(rows)) for _, rows in grouped]
    skipped = Table("subject", "implementation", "reason", title="Not measured", box=SIMPLE_HEAD)
    for row in result.rows:
        if row.skipped is not None:
            skipped.add_row(row.subject, row.implementation, row.skipped)
    return Group(head, *tables, *([skipped] if skipped.row_count else []))


def _table(rows: list[DataRow]) -> Table:
    first = rows[0]
    sizes = ", ".join(f"{name} {value}" for name, value in first.sizes.items())
    table = Table(
        title=f"{first.subject}: {first.images} images a call, {sizes}; "
        f"limit {first.limit}, {first.limit_images_per_s:,.0f} images/s",
        box=SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("implementation", no_wrap=True)
    for name in ("images/s/core", "ms/image", "20 %", "80 %", "images/s wall", "of limit"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row.wall is None or row.images_per_s is None:
            continue
        timing = row.processor or row.wall
        milliseconds = (
            f"{seconds / row.images * 1e3:.3f}"
            for seconds in (timing.median_s, timing.p20_s, timing.p80_s)
        )
        table.add_row(
            row.implementation,
            f"{row.images_per_s:,.0f}",
            *milliseconds,
            f"{row.images / row.wall.median_s:,.0f}",
            f"{row.images_per_s / row.limit_images_per_s:.1%}",
            style="bold" if row.origin == "vilseg" else None,
        )
    return table
