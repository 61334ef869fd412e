"""The files of a report: page, tables, and plots on request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from vilseg_eval.report.bars import class_bars
from vilseg_eval.report.clusters import ClusterUsage, usage_bars
from vilseg_eval.report.confusions import ConfusionTable, heat_map
from vilseg_eval.report.curves import risk_curves, risk_plot
from vilseg_eval.report.examples import Example
from vilseg_eval.report.numbers import Results
from vilseg_eval.report.page import html_page
from vilseg_eval.report.score_table import Paired
from vilseg_eval.report.tables import (
    classes_csv,
    differences_csv,
    markdown_report,
    protocols_csv,
)
from vilseg_eval.report.theme import png, svg

PAGE_FILE = "report.html"


def report_files(
    results: Results,
    *,
    title: str,
    examples: Sequence[Example] = (),
    introduction: str = "",
    confusions: Mapping[str, ConfusionTable] | None = None,
    audit: Mapping[str, Any] | None = None,
    paired: Paired | None = None,
    plots: bool = False,
) -> dict[str, bytes]:
    """`report.html`, `table.md`, `protocols.csv` and `classes.csv` by name, with `paired` also
    `differences.csv`; the same bytes for the same results.

    Args:
        plots: also every plot, as `plots/<what>.png` and `.svg`.
        Others as in `html_page`.
    """
    page = html_page(
        results,
        title=title,
        examples=examples,
        introduction=introduction,
        confusions=confusions,
        audit=audit,
        paired=paired,
    )
    contents = {PAGE_FILE: page.encode(), **table_files(results)}
    if paired:
        contents["differences.csv"] = differences_csv(paired).encode()
    if plots:
        for name, figure in _figures(results, confusions=confusions or {}):
            contents[f"plots/{name}.png"] = png(figure, transparent=False)
            contents[f"plots/{name}.svg"] = svg(figure)
    return contents


def table_files(results: Results) -> dict[str, bytes]:
    """`table.md`, `protocols.csv` and `classes.csv` by name."""
    return {
        "table.md": markdown_report(results).encode(),
        "protocols.csv": protocols_csv(results).encode(),
        "classes.csv": classes_csv(results).encode(),
    }


def _figures(
    results: Results, *, confusions: Mapping[str, ConfusionTable]
) -> Iterator[tuple[str, Figure]]:
    yield "classes", class_bars(results)
    names = _file_names([*results, *(label for label in confusions if label not in results)])
    for label, table in confusions.items():
        yield f"confusions-{names[label]}", heat_map(table)
    for label, result in results.items():
        if result.get("clusters"):
            yield f"clusters-{names[label]}", usage_bars(ClusterUsage.of(result["clusters"]))
    curves = risk_curves(results)
    if curves:
        yield "risk", risk_plot(curves)


def _file_names(labels: Sequence[str]) -> dict[str, str]:
    """A file name for each label: its letters and digits, numbered where two have the same."""
    names: dict[str, str] = {}
    for label in labels:
        stem = re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-").lower() or "run"
        name, number = stem, 1
        while name in names.values():
            number += 1
            name = f"{stem}-{number}"
        names[label] = name
    return names
