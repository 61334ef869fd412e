"""Scores side by side as text: Markdown for people, CSV for machines."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from vilseg_eval.report.numbers import (
    CHANCE,
    MEASURES,
    Number,
    Results,
    chance,
    class_number,
    class_numbers,
    numbers_of,
    protocol_names,
    protocol_rows,
    shown_protocols,
    title,
    unseen_names,
)
from vilseg_eval.report.subject import check_comparable

Cells = list[str]


def summary_rows(results: Results) -> tuple[Cells, list[Cells]]:
    """Heading and rows of the table of all protocols: a row a number, chance last, per cent."""
    check_comparable(results)
    rows = [
        [title(row.protocol), MEASURES[row.measure], *map(str, row.every.values())]
        for protocol in shown_protocols(results)
        for row in protocol_rows(results, protocol)
    ]
    return ["protocol", "per cent", *results, CHANCE], rows


def class_rows(results: Results, *, protocol: str = "all") -> tuple[Cells, list[Cells]]:
    """Heading and rows of the IoU of every class under one protocol; unseen classes have a `*`."""
    check_comparable(results)
    if protocol not in protocol_names(results):
        raise ValueError(
            f"protocol: expected one of {protocol_names(results)}, came {protocol!r}; "
            "see the protocols of results.json"
        )
    scores = class_numbers(results, protocol)
    unseen = unseen_names(results)
    return ["class", *scores], [
        [name + ("*" if name in unseen else ""), *(str(s[name]) for s in scores.values())]
        for name in scores[CHANCE]
    ]


def markdown_table(heading: Cells, rows: Sequence[Cells], *, text_columns: int = 1) -> str:
    """A Markdown table, padded so that it reads well as plain text; numbers to the right."""
    cells = [[_escaped(cell) for cell in row] for row in (heading, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(heading))]
    rule = [
        "-" * width if i < text_columns else "-" * (width - 1) + ":"
        for i, width in enumerate(widths)
    ]
    lines = [cells[0], rule, *cells[1:]]
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(widths[i]) if i < text_columns else cell.rjust(widths[i])
            for i, cell in enumerate(line)
        )
        + " |"
        for line in lines
    )


def markdown_report(results: Results) -> str:
    """The table of all protocols and the table of all classes, in per cent."""
    return (
        markdown_table(*summary_rows(results), text_columns=2)
        + "\n\nPer-class IoU, all classes as candidates (* unseen):\n\n"
        + markdown_table(*class_rows(results))
        + "\n"
    )


def protocols_csv(results: Results) -> str:
    """Every number but those of classes, as in `results.json`: fractions, empty where undefined."""
    heading = ["run", "protocol", "measure", "value", "low", "high", "chance"]
    return _csv(
        heading,
        [
            [label, protocol, measure, *_values(number, chance(results, protocol, measure))]
            for label, result in results.items()
            for protocol, measure, name, number in numbers_of(result)
            if not name
        ],
    )


def classes_csv(results: Results) -> str:
    """The IoU of every class under every protocol, as in `results.json`."""
    unseen = unseen_names(results)
    at_chance = {
        protocol: scores
        for result in results.values()
        for protocol, scores in result["chance"].items()
    }
    heading = ["run", "protocol", "class", "unseen", "iou", "low", "high", "chance"]
    return _csv(
        heading,
        [
            [
                label,
                protocol,
                name,
                int(name in unseen),
                *_values(number, class_number(at_chance.get(protocol), name)),
            ]
            for label, result in results.items()
            for protocol, _, name, number in numbers_of(result)
            if name
        ],
    )


def differences_csv(paired: Mapping[str, Mapping[str, Any]]) -> str:
    """Every difference of `paired_differences` by label, fractions, with its interval."""
    heading = ["run", "protocol", "measure", "class", "more", "low", "high"]
    return _csv(
        heading,
        [
            [label, protocol, measure, name, number.value, *(number.interval or (None, None))]
            for label, found in paired.items()
            for protocol, measure, name, number in numbers_of({"protocols": found})
        ],
    )


def _values(number: Number, at_chance: Number) -> list[Any]:
    low, high = number.interval or (None, None)
    return [number.value, low, high, at_chance.value]


def _csv(heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    # csv writes a float as repr does, which reads back as the same float, and None as nothing.
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)
    return text.getvalue()


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
