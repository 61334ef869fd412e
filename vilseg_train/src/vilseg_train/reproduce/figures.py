"""A picture of every study: bars with their spread, the sweep over C, the bars of the classes."""

from collections.abc import Sequence
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vilseg_train.reproduce.plan import Study
from vilseg_train.reproduce.summary import CEILINGS, CHANCE, Line

_INK, _BAR, _OTHER, _FLOOR = "#222222", "#3b6fb6", "#d98324", "#888888"
_PALE, _CEILING = "#a9c1e2", "#cccccc"


def study_figure(study: Study, lines: Sequence[Line], *, chance: float) -> bytes:
    """The PNG of a study."""
    draw = {"fig5": _sweep, "fig6": _classes}.get(study.name, _bars)
    width, height = 8.0, 3.6
    if draw is _classes:
        height = 0.3 * len(lines[0].iou) + 1.2
    elif draw is _bars:
        width, height = 10.0, 0.36 * len(lines) + 1.2
    figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    seeds = len(lines[0].miou)
    axes.set_title(f"{study.title}, {seeds} seed{'s' if seeds > 1 else ''}", loc="left", color=_INK)
    figure.supxlabel(draw(axes, lines, chance), fontsize=8, color=_INK)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="best")
    content = BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _bars(axes: Axes, lines: Sequence[Line], chance: float) -> str:
    names = [line.row.title for line in lines]
    values = [100 * line.mean for line in lines]
    spread = [100 * (line.deviation or 0.0) for line in lines]
    places = range(len(lines))
    colours = [_colour(line) for line in lines]
    axes.barh(places, values, xerr=spread, color=colours, height=0.62, ecolor=_INK, capsize=2)
    for place, line in zip(places, lines, strict=True):
        axes.plot([100 * v for v in line.miou], [place] * len(line.miou), ".", color=_INK, ms=3)
        end = 100 * max(line.mean + (line.deviation or 0.0), *line.miou)
        about = f"{100 * line.mean:.1f}"
        axes.annotate(about, (end, place), (5, 0), textcoords="offset points", va="center", size=8)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.axvline(100 * chance, color=_FLOOR, ls=":", lw=1, label=CHANCE)
    return "mIoU, per cent: mean, one standard deviation, and every seed as a dot"


def _colour(line: Line) -> str:
    if line.row.segmenter in CEILINGS:
        return _CEILING
    return _BAR if line.row.key == "vilseg" else _PALE


def _sweep(axes: Axes, lines: Sequence[Line], chance: float) -> str:
    values = [100 * line.mean for line in lines]
    spread = [100 * (line.deviation or 0.0) for line in lines]
    clusters = [int(line.row.key.rpartition("-")[2]) for line in lines]
    axes.errorbar(clusters, values, yerr=spread, color=_BAR, marker="o", capsize=3)
    axes.axhline(100 * chance, color=_FLOOR, ls=":", lw=1, label=CHANCE)
    axes.set_xticks(clusters)
    axes.set_ylabel("mIoU, per cent", fontsize=8)
    axes.set_ylim(bottom=0)
    return "clusters C; whiskers: one standard deviation"


def _classes(axes: Axes, lines: Sequence[Line], _chance: float) -> str:
    first = lines[0]
    names = sorted(first.iou, key=lambda name: -first.iou[name])
    thickness = 0.8 / len(lines)
    for number, (line, colour) in enumerate(zip(lines, (_BAR, _OTHER), strict=False)):
        places = [
            index + (number - 0.5 * (len(lines) - 1)) * thickness for index in range(len(names))
        ]
        values = [100 * line.iou.get(name, 0.0) for name in names]
        axes.barh(places, values, height=thickness, color=colour, label=line.row.title)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    return "IoU, per cent, the mean over the seeds"
