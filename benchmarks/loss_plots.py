"""A result of the losses as pictures: one PNG a loss and dtype."""

from collections import Counter
from pathlib import Path
from typing import Literal

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.schema import Result, Row

Quantity = Literal["time", "graph", "memory"]

_TITLES = {"mutual_information": "Mutual information", "info_nce": "Symmetric InfoNCE"}
_AXES = {
    ("mutual_information", "n"): "pixels n",
    ("mutual_information", "c"): "clusters c",
    ("info_nce", "n"): "pairs n",
    ("info_nce", "d"): "embedding dimension d",
}
_UNITS: dict[Quantity, str] = {
    "time": "median ms",
    "graph": "median ms, CUDA graph",
    "memory": "peak extra MiB",
}
_MARKERS = "os^Dvphd"


def groups(result: Result) -> list[list[Row]]:
    """The measured rows, forward and backward together, of each loss and dtype."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in result.rows:
        if row.work == "forward_backward" and row.skipped is None:
            found.setdefault((row.loss, row.dtype), []).append(row)
    return list(found.values())


def title(row: Row) -> str:
    return f"{_TITLES[row.loss]}, {row.dtype}, forward and backward"


def plot(result: Result, *, folder: Path) -> list[Path]:
    """Time, time as a CUDA graph where there is one, and peak extra memory, along both sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for rows in groups(result):
        loss = rows[0].loss
        # Of all dtypes, skipped ones too: a name has one colour in all pictures of a loss.
        names = list(dict.fromkeys(r.implementation for r in result.rows if r.loss == loss))
        figure = _figure(rows, names=names, machine=result.environment.device_name)
        path = folder / f"{loss}-{rows[0].dtype}.png"
        figure.savefig(path, dpi=120)
        written.append(path)
    return written


def _figure(rows: list[Row], *, names: list[str], machine: str) -> Figure:
    # A narrowed run may leave one value of a size, which needs no panel.
    swept = [name for name in rows[0].sizes if len({row.sizes[name] for row in rows}) > 1]
    sizes = swept or list(rows[0].sizes)[:1]
    graphs = any(row.graph and row.graph.timing for row in rows)
    quantities: list[Quantity] = ["time", "graph", "memory"] if graphs else ["time", "memory"]
    figure = Figure(figsize=(11, 1 + 3.4 * len(quantities)), layout="constrained")
    several = len({row.layout for row in rows}) > 1
    hollow = "\nhollow: logits as rows (n, c)" if several else ""
    figure.suptitle(f"{title(rows[0])}, {machine}{hollow}")
    panels = figure.subplots(len(quantities), len(sizes), squeeze=False, sharey="row")
    for line, quantity in zip(panels, quantities, strict=True):
        for axes, along in zip(line, sizes, strict=True):
            _draw(axes, rows, names=names, along=along, quantity=quantity)
        line[0].set_ylabel(_UNITS[quantity])
    found: dict[str, Artist] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        found |= {str(label): one for label, one in zip(labels, handles, strict=True)}
    shown = [name for name in names if name in found]
    figure.legend(
        [found[name] for name in shown], shown, loc="outside lower center", ncols=4, frameon=False
    )
    return figure


def _draw(axes: Axes, rows: list[Row], *, names: list[str], along: str, quantity: Quantity) -> None:
    """One line an implementation, along one size with the other at its base."""
    (other,) = (name for name in rows[0].sizes if name != along)
    # The base of the other size is the one at which this size takes the most values.
    points = {(row.sizes[along], row.sizes[other]) for row in rows}
    base, _ = Counter(size for _, size in sorted(points)).most_common(1)[0]
    layout = _usual_layout(rows)
    rows = sorted(
        (row for row in rows if row.sizes[other] == base), key=lambda row: row.sizes[along]
    )
    for index, name in enumerate(names):
        colour, marker = matplotlib.colormaps["tab10"](index % 10), _MARKERS[index % len(_MARKERS)]
        line = [row for row in rows if row.implementation == name]
        sizes, bands = _series([r for r in line if r.layout == layout], along, quantity)
        # Peers are drawn over vilseg's wider lines, so that lines on one another stay visible.
        ours = name.startswith("vilseg")
        axes.plot(
            sizes, [band[1] for band in bands], color=colour, marker=marker, markersize=5,
            linestyle="-" if ours else "--", linewidth=2.5 if ours else 1.2,
            label=name if sizes else None,
        )  # fmt: skip
        axes.fill_between(
            sizes, [b[0] for b in bands], [b[2] for b in bands], color=colour, alpha=0.15, lw=0
        )
        sizes, bands = _series([r for r in line if r.layout != layout], along, quantity)
        axes.plot(
            sizes, [band[1] for band in bands], color=colour, marker=marker, markersize=9,
            linestyle="", markerfacecolor="none", zorder=4,
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    ticks = sorted({row.sizes[along] for row in rows})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"{_AXES[rows[0].loss, along]} (at {other} = {base:,})")
    axes.grid(visible=True, which="major", alpha=0.3)


def _series(
    rows: list[Row], along: str, quantity: Quantity
) -> tuple[list[int], list[tuple[float, float, float]]]:
    """Sizes, and for each the 20th percentile, the median and the 80th in the unit of the axis."""
    sizes, bands = [], []
    for row in rows:
        if quantity == "memory":
            # A logarithmic axis has no place for 0 bytes.
            band = (max(row.peak_extra_bytes or 0, 1) / 2**20,) * 3
        else:
            measured = row if quantity == "time" else row.graph
            timing = measured.timing if measured else None
            if timing is None:
                continue
            band = (1e3 * timing.p20_s, 1e3 * timing.median_s, 1e3 * timing.p80_s)
        sizes.append(row.sizes[along])
        bands.append(band)
    return sizes, bands


def _usual_layout(rows: list[Row]) -> str:
    return Counter(row.layout for row in rows).most_common(1)[0][0]
