"""A result of the losses as tables and as plots.

Plots of a committed file: python -m benchmarks.loss_report RESULT.json --plots DIR.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table

from benchmarks.schema import Result, Row, read_result

_TITLES = {"mutual_information": "Mutual information", "info_nce": "Symmetric InfoNCE"}
_AXES = {"n": "pixels or pairs n", "c": "clusters c", "d": "embedding dimension d"}


def summary(result: Result) -> Group:
    """A table of each loss and dtype, forward and backward together, then what was skipped."""
    environment, limits = result.environment, result.limits
    rates = ", ".join(f"{name} {r / 1e9:.4g}" for name, r in limits.matrix_flop_per_s.items())
    head = (
        f"{environment.device_name}, {environment.threads} thread(s), "
        f"torch {environment.versions['torch']}: copy {limits.copy_bytes_per_s / 1e9:.4g} GB/s, "
        f"matrix GFLOP/s {rates}"
    )
    tables = [_table(rows) for rows in groups(result)]
    reasons = Counter((row.implementation, row.skipped) for row in result.rows if row.skipped)
    skipped = Table(
        "skipped", "rows", "reason", title="Not measured", box=SIMPLE_HEAD, title_justify="left"
    )
    for (name, reason), count in reasons.items():
        skipped.add_row(name, str(count), reason)
    return Group(head, *tables, *([skipped] if reasons else []))


def groups(result: Result) -> list[list[Row]]:
    """The measured rows, forward and backward together, of each loss and dtype."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in result.rows:
        if row.work == "forward_backward" and row.skipped is None:
            found.setdefault((row.loss, row.dtype), []).append(row)
    return list(found.values())


def plot(result: Result, *, folder: Path) -> list[Path]:
    """One PNG a loss and dtype: time and peak extra memory along both sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for rows in groups(result):
        figure = _figure(rows, title=f"{_title(rows[0])} on {result.environment.device_name}")
        path = folder / f"{rows[0].loss}-{rows[0].dtype}.png"
        figure.savefig(path, dpi=120)
        written.append(path)
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loss_report", description=__doc__)
    parser.add_argument("result", type=Path)
    parser.add_argument("--plots", type=Path, metavar="DIR")
    given = parser.parse_args(arguments)
    result = read_result(given.result)
    console = Console()
    console.print(summary(result))
    if given.plots:
        for path in plot(result, folder=given.plots):
            console.print(f"plot: {path}")


def _title(row: Row) -> str:
    return f"{_TITLES[row.loss]}, {row.dtype}, forward and backward"


def _table(rows: list[Row]) -> Table:
    table = Table(title=_title(rows[0]), box=SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for name in rows[0].sizes:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("implementation", no_wrap=True)
    for name in ("median ms", "20 % to 80 %", "x eager", "peak extra MiB", "roofline", "loss"):
        table.add_column(name, justify="right", no_wrap=True)
    eager = {_sizes(row): row for row in rows if row.implementation == "torch eager"}
    previous = None
    for row in rows:
        if previous is not None and previous != _sizes(row):
            table.add_section()
        previous = _sizes(row)
        table.add_row(*_cells(row, eager.get(previous)))
    return table


def _cells(row: Row, eager: Row | None) -> list[str]:
    assert row.timing is not None
    assert row.peak_extra_bytes is not None
    assert row.roofline_fraction is not None
    median, low, high = (1e3 * s for s in (row.timing.median_s, row.timing.p20_s, row.timing.p80_s))
    faster = eager.timing.median_s / row.timing.median_s if eager and eager.timing else None
    return [
        *(f"{size:,}" for size in row.sizes.values()),
        row.implementation,
        f"{median:.4g}",
        f"{low:.3g} to {high:.3g}",
        "" if faster is None else f"{faster:.2f}",
        f"{row.peak_extra_bytes / 2**20:.3g}",
        f"{100 * row.roofline_fraction:.3g} %",
        f"{row.value:.6g}",
    ]


def _sizes(row: Row) -> tuple[int, ...]:
    return tuple(row.sizes.values())


def _figure(rows: list[Row], *, title: str) -> Figure:
    axes_names = list(rows[0].sizes)
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    figure.suptitle(title)
    for line, quantity in enumerate(("time", "memory")):
        for column, name in enumerate(axes_names):
            axes = figure.add_subplot(2, len(axes_names), line * len(axes_names) + column + 1)
            _draw(axes, rows, along=name, quantity=quantity)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw(axes: Axes, rows: list[Row], *, along: str, quantity: str) -> None:
    """One line an implementation, along one size with the other at its base."""
    (other,) = (name for name in rows[0].sizes if name != along)
    # The base of the other size is the one at which this size takes the most values.
    base, _ = Counter(
        row.sizes[other] for row in {_sizes(row): row for row in rows}.values()
    ).most_common(1)[0]
    colours = matplotlib.colormaps["tab10"]
    names = list(dict.fromkeys(row.implementation for row in rows))
    for index, name in enumerate(names):
        line = [r for r in rows if r.implementation == name and r.sizes[other] == base]
        line.sort(key=lambda row: row.sizes[along])
        sizes = [row.sizes[along] for row in line]
        # Lines that lie on one another stay visible: each has its own dashes.
        colour, style = colours(index % 10), ("o-", "s--", "^:", "D-.")[index % 4]
        if quantity == "memory":
            peaks = [(row.peak_extra_bytes or 0) / 2**20 for row in line]
            axes.plot(sizes, peaks, style, color=colour, label=name)
            continue
        times = [row.timing for row in line if row.timing is not None]
        axes.plot(sizes, [1e3 * t.median_s for t in times], style, color=colour, label=name)
        low, high = [1e3 * t.p20_s for t in times], [1e3 * t.p80_s for t in times]
        axes.fill_between(sizes, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    ticks = sorted({row.sizes[along] for row in rows if row.sizes[other] == base})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xlabel(f"{_AXES[along]} (at {other} = {base:,})")
    axes.set_ylabel("median ms" if quantity == "time" else "peak extra MiB")
    axes.grid(visible=True, which="major", alpha=0.3)


if __name__ == "__main__":
    main()
