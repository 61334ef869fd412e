"""`vilseg report`: evaluated runs side by side. Only parses; loads nothing before it runs."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Evaluated runs, or folders of evaluations."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; RUN/report, or report for several.")
    ] = None,
    plots: Annotated[bool, typer.Option("--plots", help="Also every plot as PNG and SVG.")] = False,
    group: Annotated[
        bool,
        typer.Option("--group", help="One column for runs that differ in their seed alone."),
    ] = False,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
) -> None:
    """Put evaluations of one set side by side: tables, plots and overlays on one page."""
    from rich.console import Console

    from vilseg_train.reporting import report_runs

    report_runs(runs, out=out, plots=plots, group=group, title=title, console=Console())
