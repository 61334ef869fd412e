"""A result of the losses as tables: python -m benchmarks.loss_report RESULT.json."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table

from benchmarks.loss_plots import groups, plot, title
from benchmarks.loss_problems import describe
from benchmarks.loss_targets import TARGETS, Target, judge
from benchmarks.schema import Result, Row, read_result


def terminal() -> Console:
    """Where tables are printed; in a file or a pipe they take the width that they need."""
    console = Console()
    if not console.is_terminal:
        console.width = 160
    return console


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
    reasons += Counter(
        (row.implementation, f"as a graph: {row.graph.skipped}")
        for row in result.rows
        if row.graph and row.graph.skipped
    )
    skipped = Table(
        "skipped", "rows", "reason", title="Not measured", box=SIMPLE_HEAD, title_justify="left"
    )
    for (name, reason), count in reasons.items():
        skipped.add_row(name, str(count), reason)
    return Group(head, *tables, *([skipped] if reasons else []))


def check(results: Sequence[Result]) -> Group:
    """Every target beside what the results show: met, missed, or not measured and why."""
    verdicts = [judge(target, results) for target in TARGETS]
    table = Table(title="Targets", box=SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for name in ("on", "problem", "implementation", "at most", "measured", "verdict"):
        table.add_column(name, no_wrap=True)
    table.add_column("why", overflow="fold")
    for verdict in verdicts:
        target, measured = verdict.target, verdict.measured
        table.add_row(
            target.machine or target.device,
            describe(target.problem),
            target.implementation,
            f"{target.figure} {_number(target, target.at_most)}"
            + (f" x {target.than}" if target.than else ""),
            "" if measured is None else _number(target, measured),
            verdict.state,
            verdict.reason,
        )
    counts = Counter(verdict.state for verdict in verdicts)
    return Group(table, ", ".join(f"{count} {state}" for state, count in sorted(counts.items())))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loss_report", description=__doc__)
    parser.add_argument("result", type=Path, nargs="+")
    parser.add_argument("--targets", action="store_true", help="only the targets and the verdicts")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write one PNG a loss and dtype")
    given = parser.parse_args(arguments)
    results = [read_result(path) for path in given.result]
    console = terminal()
    if given.targets:
        console.print(check(results))
    else:
        for result in results:
            console.print(summary(result))
    if given.plots:
        for result in results:
            for path in plot(result, folder=given.plots):
                console.print(f"plot: {path}")


def _table(rows: list[Row]) -> Table:
    graphs = any(row.graph for row in rows)
    table = Table(title=title(rows[0]), box=SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for name in rows[0].sizes:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("layout", no_wrap=True)
    table.add_column("implementation", no_wrap=True)
    numbers = ["median ms", "20 % to 80 %", "x eager", "roofline"]
    numbers += ["graph ms", "x eager", "roofline"] if graphs else []
    for name in (*numbers, "peak extra MiB", "loss"):
        table.add_column(name, justify="right", no_wrap=True)
    eager = {_point(row): row for row in rows if row.implementation == "torch eager"}
    previous = None
    for row in rows:
        if previous is not None and previous != _point(row):
            table.add_section()
        previous = _point(row)
        table.add_row(
            *(f"{size:,}" for size in row.sizes.values()),
            row.layout,
            row.implementation,
            *_time_cells(row, eager.get(previous)),
            *(_graph_cells(row, eager.get(previous)) if graphs else ()),
            f"{(row.peak_extra_bytes or 0) / 2**20:.3g}",
            f"{row.value:.6g}",
        )
    return table


def _time_cells(row: Row, eager: Row | None) -> list[str]:
    assert row.timing is not None
    assert row.roofline_fraction is not None
    median, low, high = (1e3 * s for s in (row.timing.median_s, row.timing.p20_s, row.timing.p80_s))
    faster = eager.timing.median_s / row.timing.median_s if eager and eager.timing else None
    return [
        f"{median:.4g}",
        f"{low:.3g} to {high:.3g}",
        "" if faster is None else f"{faster:.2f}",
        f"{100 * row.roofline_fraction:.3g} %",
    ]


def _graph_cells(row: Row, eager: Row | None) -> list[str]:
    """The roofline fraction is that of the calls, in proportion to the shorter time."""
    timing = row.graph and row.graph.timing
    if not timing or not row.timing or not row.roofline_fraction:
        return ["", "", ""]
    plain = eager.graph.timing if eager and eager.graph else None
    fraction = row.roofline_fraction * row.timing.median_s / timing.median_s
    return [
        f"{1e3 * timing.median_s:.4g}",
        f"{plain.median_s / timing.median_s:.2f}" if plain else "",
        f"{100 * fraction:.3g} %",
    ]


def _point(row: Row) -> tuple[int | str, ...]:
    return (*row.sizes.values(), row.layout)


def _number(target: Target, number: float) -> str:
    if target.than:
        return f"{number:.3g}"
    if target.figure == "memory":
        return f"{number / 1e6:.4g} MB"
    return f"{1e3 * number:.4g} ms" if number >= 1e-3 else f"{1e6 * number:.4g} us"


if __name__ == "__main__":
    main()
