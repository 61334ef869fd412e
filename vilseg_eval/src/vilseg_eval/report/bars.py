"""The IoU of every class as bars (Fig. 6 of the paper): as a figure, and inside a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil

from matplotlib.figure import Figure

from vilseg_eval.report.labels import plain
from vilseg_eval.report.numbers import (
    CHANCE,
    Number,
    Results,
    class_numbers,
    percent,
    unseen_names,
)
from vilseg_eval.report.subject import check_comparable
from vilseg_eval.report.theme import canvas, dress, text_inches, theme

_TALLEST_INCHES = 60.0
_ROW_INCHES = 0.12
_BAR_INCHES = 4.6


def ordered_classes(results: Results, *, protocol: str = "all") -> list[tuple[str, list[str]]]:
    """The unseen, then the seen classes, each by IoU of the first result, best first.

    A class without IoU comes last. A heading without classes is left out.
    """
    scores = next(iter(class_numbers(results, protocol).values()))
    unseen = unseen_names(results)

    def rank(name: str) -> tuple[bool, float]:
        value = scores[name].value
        return value is None, -(value or 0.0)

    groups = [
        ("unseen classes", [name for name in scores if name in unseen]),
        ("seen classes" if unseen else "classes", [name for name in scores if name not in unseen]),
    ]
    return [(heading, sorted(names, key=rank)) for heading, names in groups if names]


def class_bars(results: Results, *, protocol: str = "all", dark: bool = False) -> Figure:
    """Horizontal bars, one group a class, one bar a result, a tick where chance is.

    Whiskers are the intervals, where results have them. Unseen classes stand above seen ones,
    each sorted by the first result; a class without IoU has no bar. `dark` draws light text for
    dark pages.
    """
    check_comparable(results)
    look = theme(dark=dark)
    scores = class_numbers(results, protocol)
    at_chance = scores.pop(CHANCE)
    rows, headings, end = _places(ordered_classes(results, protocol=protocol))
    texts = [plain(name) for name in rows]
    figure, axes = canvas(
        _BAR_INCHES,
        min(_TALLEST_INCHES, end * (1 + len(scores)) * _ROW_INCHES),
        left=0.15 + text_inches(texts),
        bottom=0.5,
        top=0.2 + 0.22 * -(-(len(scores) + 1) // 2),
    )
    thickness = 0.8 / len(scores)
    for number, (label, iou) in enumerate(scores.items()):
        shift = (number - (len(scores) - 1) / 2) * thickness
        axes.barh(
            [height + shift for height in rows.values()],
            [100 * (iou[name].value or 0.0) for name in rows],
            height=thickness,
            color=look.hue(number),
            label=plain(label),
        )
        known = [(rows[n] + shift, i) for n in rows if (i := iou[n].interval) is not None]
        axes.hlines(
            [height for height, _ in known],
            [100 * low for _, (low, _) in known],
            [100 * high for _, (_, high) in known],
            colors=look.ink,
            linewidths=0.8,
            alpha=0.7,
        )
    ticks = {rows[name]: 100 * n.value for name, n in at_chance.items() if n.value is not None}
    axes.vlines(
        list(ticks.values()),
        [row - 0.45 for row in ticks],
        [row + 0.45 for row in ticks],
        colors=look.ink,
        linewidths=1.2,
        label=CHANCE,
    )
    axes.set_yticks(list(rows.values()), texts)
    for height, heading in headings:
        axes.text(0, height, f" {heading}", color=look.ink, weight="bold", va="center")
    axes.set_ylim(end - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("IoU, per cent")
    dress(axes, look)
    figure.legend(loc="upper left", ncols=2, frameon=False, labelcolor=look.ink)
    return figure


def _places(
    groups: Sequence[tuple[str, Sequence[str]]],
) -> tuple[dict[str, float], list[tuple[float, str]], float]:
    """Heights of the classes, of the headings of their groups, and of the end."""
    rows: dict[str, float] = {}
    headings: list[tuple[float, str]] = []
    place = 0.0
    for heading, names in groups:
        headings.append((place, heading))
        rows |= {name: place + 0.9 + number for number, name in enumerate(names)}
        place += 1.1 + len(names)
    return rows, headings, place


def page_bars(results: Results, *, protocol: str = "all") -> str:
    """The same inside a page: readable at any width and for any number of classes."""
    scores = class_numbers(results, protocol)
    at_chance = scores.pop(CHANCE)
    every = [n.value or 0.0 for iou in (*scores.values(), at_chance) for n in iou.values()]
    full = max(1, ceil(20 * max(every, default=0.0))) / 20
    parts = [_legend(list(scores), full=full)]
    for heading, names in ordered_classes(results, protocol=protocol):
        rows = "\n".join(
            _row(name, [iou[name] for iou in scores.values()], at_chance[name], full=full)
            for name in names
        )
        parts.append(f"<h3>{escape(heading.capitalize())} ({len(names)})</h3>")
        parts.append(f'<ul class="bars">\n{rows}\n</ul>')
    return "\n".join(parts)


def _legend(labels: Sequence[str], *, full: float) -> str:
    chips = "".join(
        f'<li><i class="hue{number % 6}"></i>{escape(label)}</li>'
        for number, label in enumerate(labels)
    )
    return (
        f'<ul class="chips">{chips}<li><i class="tick"></i>{CHANCE}</li>'
        f'<li class="soft">full width: {percent(full)} %</li></ul>'
    )


def _row(name: str, numbers: Sequence[Number], at_chance: Number, *, full: float) -> str:
    tick = "" if at_chance.value is None else f'<s style="left:{_width(at_chance, full)}%"></s>'
    bars = "".join(
        f'<i class="hue{number % 6}" style="width:{_width(value, full)}%"></i>'
        if value.value is not None
        else '<i class="none"></i>'
        for number, value in enumerate(numbers)
    )
    values = "".join(f"<span>{percent(value.value)}</span>" for value in numbers)
    return f"<li><b>{escape(name)}</b><div>{bars}{tick}</div><em>{values}</em></li>"


def _width(number: Number, full: float) -> str:
    return f"{100 * (number.value or 0.0) / full:.1f}"
