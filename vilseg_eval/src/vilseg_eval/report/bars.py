"""The IoU of every class as bars (Fig. 6 of the paper)."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from matplotlib.figure import Figure

from vilseg_eval.report.tables import CHANCE, Results, check_comparable, class_scores, unseen_names

_HUES = ("#2f6fde", "#e0822f", "#3a9a62", "#b0489e", "#8a7a2c", "#4aa6b5")
_GREY = "#8a8f98"


def class_bars(results: Results, *, protocol: str = "all", dark: bool = False) -> Figure:
    """Horizontal bars, one group a class, one bar a segmenter, a tick where chance is.

    Unseen classes have a star; a class without IoU has no bar. `dark` draws light text for dark
    pages; the background is transparent either way.
    """
    check_comparable(results)
    scores = class_scores(results, protocol=protocol)
    chance = scores.pop(CHANCE)
    names, unseen = list(chance), unseen_names(results)
    ink = "#e6e8eb" if dark else "#1d2126"
    height = 0.9 + 0.12 * len(names) * (1 + len(scores))
    figure = Figure(figsize=(6.4, height), layout="constrained")
    axes = figure.add_subplot()
    thickness = 0.8 / max(1, len(scores))
    rows = np.arange(len(names))
    for number, (label, iou) in enumerate(scores.items()):
        axes.barh(
            rows + (number - (len(scores) - 1) / 2) * thickness,
            [100 * (iou.get(name) or 0.0) for name in names],
            height=thickness,
            color=_HUES[number % len(_HUES)],
            label=label,
        )
    at_chance = [100 * value if value is not None else np.nan for value in chance.values()]
    axes.vlines(at_chance, rows - 0.45, rows + 0.45, colors=ink, linewidths=1.2, label=CHANCE)
    axes.set_yticks(rows, [name + ("*" if name in unseen else "") for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("IoU, per cent  (* unseen class)", color=ink)
    axes.tick_params(colors=ink, length=0)
    axes.grid(axis="x", color=_GREY, alpha=0.3)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "left")
        spine.set_color(_GREY)
    figure.legend(loc="outside upper left", ncols=4, frameon=False, labelcolor=ink)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file with a transparent background."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=130, transparent=True)
    return file.getvalue()
