"""Scores side by side as text: one row a segmenter, chance last.

`results` is a mapping from the label of a row to what `results.json` holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vilseg_eval.protocols import PROTOCOLS

Results = Mapping[str, Mapping[str, Any]]
Row = list[str]

CHANCE = "chance"
UNDEFINED = "\N{EN DASH}"

# Heading, protocol, path of the number inside its scores.
_COLUMNS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("unseen mIoU", "gzlss", ("miou",)),
    ("unseen recall", "gzlss", ("accuracy", "unseen_recall")),
    ("all mIoU", "all", ("miou",)),
    ("pixel accuracy", "all", ("accuracy", "overall")),
    ("class accuracy", "all", ("accuracy", "class_mean")),
    ("restricted mIoU", "zlss", ("miou",)),
    ("restricted recall", "zlss", ("accuracy", "unseen_recall")),
)


def check_comparable(results: Results) -> None:
    """ValueError unless there is a result and all are of the same images and classes."""
    if not results:
        raise ValueError("results: expected at least one, got none; evaluate first")
    subjects = {label: _subject(result) for label, result in results.items()}
    first, *others = subjects.items()
    for label, subject in others:
        if subject != first[1]:
            raise ValueError(
                f"results: {first[0]!r} and {label!r} are not of the same data "
                f"({_describe(results[first[0]])} and {_describe(results[label])}); "
                "compare evaluations of one set and split"
            )


def summary_rows(results: Results) -> tuple[Row, list[Row]]:
    """Heading and rows of the table of all protocols, percentages as text."""
    check_comparable(results)
    chance = next(iter(results.values()))["chance"]
    rows = [[label, *_numbers(result["protocols"])] for label, result in results.items()]
    return ["", *(heading for heading, _, _ in _COLUMNS)], [*rows, [CHANCE, *_numbers(chance)]]


def class_rows(results: Results, *, protocol: str = "all") -> tuple[Row, list[Row]]:
    """Heading and rows of the IoU of every class under one protocol; unseen classes have a `*`."""
    check_comparable(results)
    scores = class_scores(results, protocol=protocol)
    unseen = unseen_names(results)
    return ["class", *scores], [
        [name + ("*" if name in unseen else ""), *(percent(s.get(name)) for s in scores.values())]
        for name in next(reversed(scores.values()))
    ]


def class_scores(
    results: Results, *, protocol: str = "all"
) -> dict[str, Mapping[str, float | None]]:
    """IoU by class for each row label, chance last; empty where the protocol is not answered."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol: expected one of {sorted(PROTOCOLS)}, got {protocol!r}")
    chance = next(iter(results.values()))["chance"][protocol]["iou"]
    measured = {label: result["protocols"][protocol] for label, result in results.items()}
    return {label: s["iou"] if s else {} for label, s in measured.items()} | {CHANCE: chance}


def unseen_names(results: Results) -> frozenset[str]:
    """The names of the unseen classes."""
    return frozenset(next(iter(results.values()))["chance"]["gzlss"]["iou"])


def markdown_table(heading: Row, rows: Sequence[Row]) -> str:
    """A Markdown table, padded so that it reads well as plain text; numbers to the right."""
    cells = [[_escaped(cell) for cell in row] for row in (heading, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(heading))]
    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = [cells[0], rule, *cells[1:]]
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(widths[i]) if i == 0 else cell.rjust(widths[i])
            for i, cell in enumerate(line)
        )
        + " |"
        for line in lines
    )


def markdown_report(results: Results) -> str:
    """The table of all protocols and the table of all classes, in per cent."""
    return (
        markdown_table(*summary_rows(results))
        + "\n\nPer-class IoU, all classes as candidates (* unseen):\n\n"
        + markdown_table(*class_rows(results))
        + "\n"
    )


def percent(value: float | None) -> str:
    """0.1234 as "12.3"; a dash for an undefined value."""
    return UNDEFINED if value is None else f"{100 * value:.1f}"


def _numbers(protocols: Mapping[str, Any]) -> Row:
    row = []
    for _, protocol, path in _COLUMNS:
        value = protocols[protocol]
        for key in path:
            value = None if value is None else value[key]
        row.append(percent(value))
    return row


def _subject(result: Mapping[str, Any]) -> tuple[Any, ...]:
    chance = result["chance"]["all"]["iou"]
    return (*(result.get(key) for key in ("data", "split", "images")), tuple(chance.items()))


def _describe(result: Mapping[str, Any]) -> str:
    split = f" {result['split']}" if result.get("split") else ""
    return f"{result['data']}{split}, {result['images']} images"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
