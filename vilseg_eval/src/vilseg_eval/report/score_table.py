"""The table of every protocol, and the numbers of every class, inside a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from vilseg_eval.report.groups import differences
from vilseg_eval.report.numbers import (
    CHANCE,
    MEASURES,
    UNDEFINED,
    Number,
    Results,
    Row,
    explanation,
    percent,
    protocol_rows,
    shown_protocols,
    title,
)

Paired = Mapping[str, Mapping[str, Any]]
"""What `paired_differences` gives, by the label of the evaluation that has more or less."""


def score_table(results: Results, *, paired: Paired | None = None) -> str:
    """A group of rows for each protocol; beside a first result, how much the others have more.

    Args:
        paired: of `paired_differences`, by label.
    """
    columns = len(results) + 2
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label in ("", *results, CHANCE))
    groups = "\n".join(
        f'<tbody>\n<tr class="group"><th colspan="{columns}" scope="rowgroup"><div>'
        f"{escape(title(protocol).capitalize())}<p>{escape(explanation(protocol))}</p>"
        "</div></th></tr>\n"
        + "\n".join(_row(row, results, paired=paired) for row in protocol_rows(results, protocol))
        + "\n</tbody>"
        for protocol in shown_protocols(results)
    )
    return (
        f'<div class="wide"><table class="scores"><thead><tr>{head}</tr></thead>\n'
        f"{groups}\n</table></div>"
    )


def text_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table that scrolls inside itself."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in heading)
    body = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def reading(results: Results, *, paired: Paired | None = None) -> str:
    """How to read the numbers: what they are parts of, intervals, chance."""
    said = [
        "In per cent, from one confusion matrix of the whole set. A dash is undefined or cannot be "
        "answered. Chance is a random labelling with the same class shares. Pixels without a label "
        "never count."
    ]
    bootstrap = next((b for r in results.values() if (b := r.get("bootstrap"))), None)
    if bootstrap:
        said.append(
            f"Intervals hold {100 * bootstrap['level']:g} % of {bootstrap['replicates']:,} "
            "resamplings of the images: how much the number hangs on the choice of images, not on "
            "the seed of a training."
        )
    if any(result.get("runs", 1) > 1 for result in results.values()):
        said.append(
            "± is the standard deviation over runs, whose number stands in brackets, each trained "
            "with its own seed."
        )
    if len(results) > 1:
        said.append(f"Signed numbers are points more than {next(iter(results))!r} has.")
    if paired:
        said.append(
            "Their intervals come from scoring both on the same resamplings: one without zero is a "
            "difference that these images show, whether or not the two intervals overlap."
        )
    return " ".join(said)


def _row(row: Row, results: Results, *, paired: Paired | None) -> str:
    several = len(results) > 1
    best = _best(row) if several else None
    about = {"protocol": row.protocol, "measure": row.measure}
    more = differences(results, paired=paired, **about) if several else {}
    cells = "".join(
        _cell(number, more.get(label), best=number.value is not None and number.value == best)
        for label, number in row.numbers.items()
    )
    return (
        f'<tr><th scope="row">{escape(MEASURES[row.measure])}</th>{cells}'
        f'<td class="chance">{percent(row.chance.value)}</td></tr>'
    )


def _cell(number: Number, more: Number | None, *, best: bool) -> str:
    style = ' class="best"' if best else ""
    around = f"<small>{number.around()}</small>" if number.around() else ""
    delta = "" if more is None else f'<small class="more">{signed_with_ends(more)}</small>'
    return f"<td{style}><b>{percent(number.value)}</b>{around}{delta}</td>"


def signed_with_ends(more: Number) -> str:
    """A difference in points with its interval: "+1.2 (+0.3 to +2.0)"."""
    if more.interval is None:
        return signed(more.value)
    low, high = more.interval
    return f"{signed(more.value)} ({signed(low)} to {signed(high)})"


def signed(value: float | None) -> str:
    """0.0123 as "+1.2", points of per cent."""
    if value is None:
        return UNDEFINED
    points = round(100 * value, 1)
    sign = "+" if points > 0 else "\N{MINUS SIGN}" if points < 0 else "\N{PLUS-MINUS SIGN}"
    return f"{sign}{abs(points):.1f}"


def _best(row: Row) -> float | None:
    return max((n.value for n in row.numbers.values() if n.value is not None), default=None)
