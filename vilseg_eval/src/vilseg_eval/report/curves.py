"""What abstaining buys, and what names and templates are worth: curves and tables of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from vilseg_eval.report.labels import plain
from vilseg_eval.report.numbers import Results, percent, title
from vilseg_eval.report.theme import canvas, dress, theme

Curve = Mapping[str, Sequence[float | None]]


def risk_curves(results: Results) -> dict[str, Curve]:
    """The curves of the results that have one: `coverage` and `risk`, by label."""
    return {
        label: result["risk_coverage"]
        for label, result in results.items()
        if result.get("risk_coverage")
    }


def risk_plot(curves: Mapping[str, Curve], *, dark: bool = False) -> Figure:
    """Risk, the share of wrong pixels among the answered, over coverage, the share answered."""
    look = theme(dark=dark)
    figure, axes = canvas(5.6, 2.8, left=0.65, bottom=0.5)
    for number, (label, curve) in enumerate(curves.items()):
        points = sorted(
            (100 * c, 100 * r)
            for c, r in zip(curve["coverage"], curve["risk"], strict=True)
            if c is not None and r is not None
        )
        axes.plot(
            [c for c, _ in points],
            [r for _, r in points],
            color=look.hue(number),
            linestyle=("-", "--", ":", "-.")[number % 4],
            label=plain(label),
        )
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("coverage: per cent of pixels given a word")
    axes.set_ylabel("risk: per cent of these wrong")
    dress(axes, look, grid="both")
    axes.legend(frameon=False, labelcolor=look.ink)
    return figure


def abstention_sentence(result: Mapping[str, Any]) -> str:
    """Where the threshold of a calibrated background came from; empty where there is none."""
    found = result.get("abstention")
    if not found:
        return ""
    return (
        f"Below a confidence of {found['threshold']:.3g} a pixel is background; chosen on "
        f"{found['data']} {found['split']}, {found['images']:,} images, by {found['criterion']}."
    )


def audit_rows(audit: Mapping[str, Any], protocol: str) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of the words audit: mIoU by naming scheme and template set, per cent."""
    table = audit["protocols"][protocol]["miou"]
    return ["names", *audit["templates"]], [
        [name, *(percent(value) for value in row)]
        for name, row in zip(audit["names"], table, strict=True)
    ]


def audit_sentence(audit: Mapping[str, Any], protocol: str) -> str:
    """The lowest and the highest mIoU of the audit, and what lies between."""
    found = audit["protocols"][protocol]
    return (
        f"{title(protocol)}: mIoU from {percent(found['lowest'])} to {percent(found['highest'])}, "
        f"a spread of {percent(found['spread'])} points by words alone."
    )
