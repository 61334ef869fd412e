"""Scores as tables on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from vilseg_eval.report import class_rows, summary_rows
from vilseg_train.reproduce.summary import Line

Results = Mapping[str, Mapping[str, Any]]


def retrieval_table(scores: Mapping[str, Any]) -> Table:
    """R@k both ways beside chance, in per cent."""
    ways = ("image_to_text", "text_to_image")
    ranks = list(scores[ways[0]])
    heading = ["per cent", *ranks, *(f"chance {rank}" for rank in ranks)]
    rows = []
    for way in ways:
        values = [side[way][rank] for side in (scores, scores["chance"]) for rank in ranks]
        rows.append([way.replace("_", " "), *(f"{100 * value:.1f}" for value in values)])
    about = f"{scores['images']} images, {scores['captions']} captions"
    return titled_table(f"Retrieval on {scores['source']}: {about}", heading, rows)


def evaluation_tables(results: Results) -> list[Table]:
    """IoU of every class, then every protocol; a column for each segmenter, chance last."""
    first = next(iter(results.values()))
    return [
        titled_table("IoU, per cent (* unseen)", *class_rows(results)),
        _protocols(results, title=f"{first['images']} images, per cent"),
    ]


def _protocols(results: Results, *, title: str) -> Table:
    heading, rows = summary_rows(results)
    table = Table(title=escape(title), title_justify="left")
    # The names of protocols stand between the rows: a column of them is wider than a terminal.
    table.add_column("")
    for cell in heading[2:]:
        table.add_column(escape(cell), justify="right")
    shown = ""
    for protocol, measure, *numbers in rows:
        if protocol != shown:
            table.add_section()
            table.add_row(f"[bold]{escape(protocol)}[/]")
            shown = protocol
        table.add_row(f"  {measure}", *numbers)
    return table


def study_table(title: str, lines: Sequence[Line], *, chance: float) -> Table:
    """mIoU of every row of a study over its seeds, in per cent, chance last."""
    rows = [
        [
            line.row.title,
            f"{100 * line.mean:.1f}",
            "" if line.deviation is None else f"± {100 * line.deviation:.1f}",
        ]
        for line in lines
    ]
    rows.append(["chance", f"{100 * chance:.1f}", ""])
    return titled_table(f"{title}, per cent", ["", "mIoU", ""], rows)


def demo_table(results: Results) -> Table:
    """mIoU and pixel accuracy over all classes, in per cent."""
    first = next(iter(results.values()))
    scores = {label: result["protocols"]["all"] for label, result in results.items()}
    scores["chance"] = first["chance"]["all"]
    rows = [
        [label, f"{100 * score['miou']:.1f}", f"{100 * score['accuracy']['overall']:.1f}"]
        for label, score in scores.items()
    ]
    title = f"{first['images']} images, {len(first['names'])} classes, per cent"
    return titled_table(title, ["", "mIoU", "pixel accuracy"], rows)


def titled_table(title: str, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Cells as they stand, numbers to the right of a first column of names."""
    table = Table(title=escape(title), title_justify="left")
    for number, cell in enumerate(heading):
        table.add_column(escape(cell), justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*map(escape, row))
    return table
