"""One HTML file with everything inside: tables, bars, plots, overlays. No script, no fetching."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from vilseg_eval.files import write_atomically
from vilseg_eval.report.bars import page_bars
from vilseg_eval.report.clusters import ClusterUsage, usage_bars
from vilseg_eval.report.confusions import ConfusionTable, heat_map
from vilseg_eval.report.curves import (
    abstention_sentence,
    audit_rows,
    audit_sentence,
    risk_curves,
    risk_plot,
)
from vilseg_eval.report.examples import Example
from vilseg_eval.report.facts import facts_list
from vilseg_eval.report.gallery import gallery
from vilseg_eval.report.html import details, document, paragraph, plot, section
from vilseg_eval.report.numbers import Results
from vilseg_eval.report.score_table import Paired, reading, score_table, text_table
from vilseg_eval.report.subject import check_comparable, subject
from vilseg_eval.report.tables import class_rows
from vilseg_eval.report.theme import png

_PLOT_PX = 620


def html_page(
    results: Results,
    *,
    title: str,
    examples: Sequence[Example] = (),
    words: Sequence[str] | None = None,
    introduction: str = "",
    confusions: Mapping[str, ConfusionTable] | None = None,
    audit: Mapping[str, Any] | None = None,
    paired: Paired | None = None,
) -> str:
    """The report as one self-contained HTML text; a part without anything to show is left out.

    Args:
        results: what `results.json` holds, by the label of its column; all of one set and split.
        title: heading of the page.
        examples: pictures to show, see `collect_examples`.
        words: what the label maps of the examples index; the names in the first result if None.
        introduction: a paragraph of plain text under the heading.
        confusions: who was taken for whom, by label.
        audit: what `audit.json` of a words audit holds.
        paired: how much better each is than the first, see `paired_differences`, by label.
    """
    check_comparable(results)
    first = next(iter(results.values()))
    named = list(first["names"]) if words is None else list(words)
    parts = {
        "scores": (
            "Scores",
            [
                score_table(results, paired=paired),
                paragraph(reading(results, paired=paired), style="soft"),
            ],
        ),
        "classes": ("Every class", _classes(results)),
        "confusions": ("What is taken for what", _confusions(confusions or {})),
        "images": ("Images", [gallery(examples, words=named)]),
        "clusters": ("Clusters", _clusters(results)),
        "abstention": ("Abstention", _abstention(results)),
        "words": ("Other names, other templates", _audit(audit)),
        "made": ("How this was made", _made(results)),
    }
    sections = {
        name: (heading, text)
        for name, (heading, content) in parts.items()
        if (text := section(name, heading, *content))
    }
    links = "".join(
        f'<li><a href="#{name}">{escape(heading)}</a></li>'
        for name, (heading, _) in sections.items()
    )
    return document(
        title,
        [
            f"<header>\n<h1>{escape(title)}</h1>",
            paragraph(subject(first), style="soft"),
            paragraph(introduction),
            f'<nav aria-label="Parts of this page"><ul>{links}</ul></nav>\n</header>',
            *(text for _, text in sections.values()),
        ],
    )


def write_page(path: Path | str, page: str) -> Path:
    """Write the page; it appears whole or not at all."""
    target = Path(path)
    write_atomically({target: page.encode()})
    return target


def _classes(results: Results) -> list[str]:
    return [
        paragraph("IoU with every class as a candidate, per cent; the longest bars first."),
        page_bars(results),
        details("The numbers", text_table(*class_rows(results))),
    ]


def _confusions(tables: Mapping[str, ConfusionTable]) -> list[str]:
    parts = []
    for label, table in tables.items():
        named = table.largest()
        listed = "".join(f"<li>{escape(str(confusion))}</li>" for confusion in named)
        alt = f"Heat map of the confusions of {label}, {len(table.names)} classes"
        parts += [
            _heading(label, tables),
            f'<ol class="columns">{listed}</ol>' if named else paragraph("Nothing is confused."),
            _both(lambda dark, t=table: heat_map(t, dark=dark), alt=alt),  # type: ignore[misc]
        ]
    if parts:
        parts.append(
            paragraph(
                "Shares of the pixels of the class named first, every class being a candidate. "
                "In the map a row is a class of the ground truth and adds up to 100; seen classes "
                "stand before unseen ones.",
                style="soft",
            )
        )
    return parts


def _clusters(results: Results) -> list[str]:
    known = {
        label: ClusterUsage.of(found)
        for label, result in results.items()
        if (found := result.get("clusters"))
    }
    parts = []
    for label, usage in known.items():
        parts += [
            _heading(label, known),
            paragraph(str(usage)),
            _both(
                lambda dark, u=usage: usage_bars(u, dark=dark),  # type: ignore[misc]
                alt=f"Bars of the share of each cluster of {label}",
            ),
        ]
    return parts


def _abstention(results: Results) -> list[str]:
    curves = risk_curves(results)
    sentences = [
        paragraph(f"{label}: {sentence}" if len(results) > 1 else sentence)
        for label, result in results.items()
        if (sentence := abstention_sentence(result))
    ]
    if not curves:
        return sentences
    return [
        *sentences,
        _both(lambda dark: risk_plot(curves, dark=dark), alt="Curves of risk over coverage"),
        paragraph(
            "Pixels are answered from the surest down; a curve that rises late keeps its errors "
            "for what it is least sure of.",
            style="soft",
        ),
    ]


def _audit(audit: Mapping[str, Any] | None) -> list[str]:
    if audit is None:
        return []
    return [
        paragraph(
            "The same weights and images under other class names and sentences, mIoU in per cent. "
            "A gain smaller than this spread may come from words alone."
        ),
        *(
            paragraph(audit_sentence(audit, name)) + text_table(*audit_rows(audit, name))
            for name in audit["protocols"]
        ),
    ]


def _made(results: Results) -> Iterable[str]:
    return [_heading(label, results) + facts_list(result) for label, result in results.items()]


def _heading(label: str, among: Mapping[str, object]) -> str:
    return f"<h3>{escape(label)}</h3>" if len(among) > 1 else ""


def _both(draw: Callable[[bool], Figure], *, alt: str) -> str:
    figure = draw(False)
    width = min(round(96 * figure.get_figwidth()), _PLOT_PX)
    return plot(png(figure), png(draw(True)), alt=alt, width=width)
