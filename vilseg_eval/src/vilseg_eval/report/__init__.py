"""Results to look at: tables, overlays with a legend, bars, one HTML page."""

from vilseg_eval.report.bars import class_bars, png
from vilseg_eval.report.examples import Example, collect_examples
from vilseg_eval.report.page import html_page, write_page
from vilseg_eval.report.pictures import colours, overlay, tint
from vilseg_eval.report.tables import (
    class_rows,
    markdown_report,
    markdown_table,
    summary_rows,
)

__all__ = [
    "Example",
    "class_bars",
    "class_rows",
    "collect_examples",
    "colours",
    "html_page",
    "markdown_report",
    "markdown_table",
    "overlay",
    "png",
    "summary_rows",
    "tint",
    "write_page",
]
