"""Results to look at: tables, overlays with a legend, plots, one HTML page."""

from vilseg_eval.report.bars import class_bars
from vilseg_eval.report.clusters import ClusterUsage, cluster_usage, usage_bars
from vilseg_eval.report.confusions import ConfusionTable, heat_map
from vilseg_eval.report.curves import risk_plot
from vilseg_eval.report.evaluated import described, evaluation_report
from vilseg_eval.report.examples import Example, collect_examples, placed
from vilseg_eval.report.examples_file import EXAMPLES_FILE, examples_bytes, load_examples
from vilseg_eval.report.groups import average
from vilseg_eval.report.output import report_files
from vilseg_eval.report.page import html_page, write_page
from vilseg_eval.report.pictures import colours, overlay, tint
from vilseg_eval.report.tables import (
    class_rows,
    classes_csv,
    markdown_report,
    markdown_table,
    protocols_csv,
    summary_rows,
)
from vilseg_eval.report.theme import png, svg

__all__ = [
    "EXAMPLES_FILE",
    "ClusterUsage",
    "ConfusionTable",
    "Example",
    "average",
    "class_bars",
    "class_rows",
    "classes_csv",
    "cluster_usage",
    "collect_examples",
    "colours",
    "described",
    "evaluation_report",
    "examples_bytes",
    "heat_map",
    "html_page",
    "load_examples",
    "markdown_report",
    "markdown_table",
    "overlay",
    "placed",
    "png",
    "protocols_csv",
    "report_files",
    "risk_plot",
    "summary_rows",
    "svg",
    "tint",
    "usage_bars",
    "write_page",
]
