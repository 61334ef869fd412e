"""How plots look on a light and on a dark page, and how they become files."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind eyes tell apart; darker or lighter as the page needs.
_LIGHT = ("#0072b2", "#d55e00", "#009e73", "#b0579a", "#9a7b00", "#3f8fc4")
_DARK = ("#56b4e9", "#f0843c", "#2fc79a", "#dd93c0", "#e6c229", "#8fb8e8")
_DPI = 150


@dataclass(frozen=True)
class Theme:
    """Colours of a plot: `ink` for text, `line` for frames, `hues` for series."""

    ink: str
    line: str
    hues: tuple[str, ...]

    def hue(self, number: int) -> str:
        """The colour of series `number`; from the seventh on they repeat."""
        return self.hues[number % len(self.hues)]


LIGHT = Theme(ink="#1d2126", line="#8a8f98", hues=_LIGHT)
DARK = Theme(ink="#e6e8eb", line="#8a8f98", hues=_DARK)


def theme(*, dark: bool) -> Theme:
    """The theme of light or of dark pages."""
    return DARK if dark else LIGHT


def canvas(
    width: float,
    height: float,
    *,
    left: float,
    bottom: float,
    right: float = 0.15,
    top: float = 0.1,
) -> tuple[Figure, Axes]:
    """A figure and its axes: sizes of the plot itself and of the margins around it, in inches.

    Matplotlib's own layouts measure every text several times, seconds for a hundred classes.
    """
    whole, tall = left + width + right, bottom + height + top
    figure = Figure(figsize=(whole, tall))
    axes = figure.add_axes((left / whole, bottom / tall, width / whole, height / tall))
    return figure, axes


def text_inches(texts: Iterable[str], *, points: float = 10) -> float:
    """How wide the longest of the texts is at most, about."""
    return max((len(text) for text in texts), default=0) * 0.62 * points / 72


def dress(axes: Axes, look: Theme, *, grid: str = "x") -> None:
    """Quiet axes: no ticks, a frame at the left and below, a grid along `grid`."""
    axes.tick_params(colors=look.ink, length=0)
    axes.xaxis.label.set_color(look.ink)
    axes.yaxis.label.set_color(look.ink)
    if grid:
        axes.grid(axis=grid, color=look.line, alpha=0.3, linewidth=0.8)  # type: ignore[arg-type]
        axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(look.line)


def png(figure: Figure, *, transparent: bool = True) -> bytes:
    """The figure as a PNG file, the same bytes for the same figure."""
    file = BytesIO()
    with _any_script():
        figure.savefig(
            file, format="png", dpi=_DPI, transparent=transparent, metadata={"Software": None}
        )
    return file.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file, the same bytes for the same figure."""
    file = BytesIO()
    with _any_script(), matplotlib.rc_context({"svg.hashsalt": "vilseg"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


@contextmanager
def _any_script() -> Iterator[None]:
    # Names in a script that the font lacks are drawn as boxes; the tables hold them as text.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
