"""Which class is taken for which: in words, and as a heat map.

Legend: k foreground classes; the last column of a matrix holds pixels that got none of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vilseg_eval.protocols import ClassSets
from vilseg_eval.report.labels import plain
from vilseg_eval.report.theme import canvas, text_inches, theme
from vilseg_eval.results import MATRICES_FILE, EvalResult

NOTHING = "nothing asked for"
"""What a pixel predicted outside the candidates was taken for."""

_NAMED = 60
_LONGEST = 24
# Seen on the dark and on the bright end of the colour map.
_PARTING = "#ff9d3c"
_BAR_INCHES = 0.85


@dataclass(frozen=True)
class Confusion:
    """`share` of the pixels of class `truth` were taken for `guess`; `weight`, of all pixels."""

    truth: str
    guess: str
    share: float
    weight: float

    def __str__(self) -> str:
        return f"{self.truth} taken for {self.guess} {100 * self.share:.1f} %"


@dataclass(frozen=True)
class ConfusionTable:
    """Pixels by foreground class, seen classes first, each group in the order of its ids.

    `counts` (k, k + 1) int64; `names` k; the first `seen` of them are not unseen.
    """

    counts: NDArray[np.int64]
    names: tuple[str, ...]
    seen: int

    @classmethod
    def of(cls, counts: NDArray[np.int64], *, sets: ClassSets) -> ConfusionTable:
        """The foreground of a matrix (all ids, all ids + 1) of the candidate set "all"."""
        unseen = sets.ids("unseen")
        seen = [i for i in sets.foreground if i not in unseen]
        order = [*seen, *unseen]
        columns = [*order, len(sets.names)]
        return cls(counts[np.ix_(order, columns)], tuple(sets.names[i] for i in order), len(seen))

    @classmethod
    def of_evaluation(cls, evaluation: EvalResult) -> ConfusionTable:
        """Of all images."""
        return cls.of(evaluation.matrices["all"].counts.numpy(), sets=evaluation.sets)

    def __add__(self, other: ConfusionTable) -> ConfusionTable:
        """The pixels of both, of one class list."""
        if (self.names, self.seen) != (other.names, other.seen):
            raise ValueError(
                f"other: expected the classes {self.names[:4]}, came {other.names[:4]}; "
                "add tables of one set"
            )
        return ConfusionTable(self.counts + other.counts, self.names, self.seen)

    @property
    def shares(self) -> NDArray[np.float64]:
        """(k, k + 1): each row's share of its pixels; nan where a class has none."""
        pixels = self.counts.sum(1, keepdims=True).astype(np.float64)
        pixels[pixels == 0] = np.nan
        shares: NDArray[np.float64] = self.counts / pixels
        return shares

    def largest(self, count: int = 12) -> list[Confusion]:
        """The largest confusions by share of the true class, then by pixels."""
        shares, total = self.shares, max(1, int(self.counts.sum()))
        guesses = (*self.names, NOTHING)
        found = [
            Confusion(self.names[g], guesses[p], shares[g, p].item(), self.counts[g, p] / total)
            for g, p in zip(*self.counts.nonzero(), strict=True)
            if g != p
        ]
        found.sort(key=lambda c: (-c.share, -c.weight))
        return found[:count]


def load_confusions(folder: Path | str) -> ConfusionTable | None:
    """The table of a saved evaluation; None where its matrices were not kept.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(folder) / MATRICES_FILE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            header = json.loads(archive["header"].item())
            sets = ClassSets(tuple(header["names"]), tuple(header["unseen"]), header["background"])
            return ConfusionTable.of(archive["counts_all"], sets=sets)
    except (BadZipFile, KeyError, TypeError, ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"folder: expected confusion matrices in {path}, came a damaged file ({error}); "
            "evaluate again"
        ) from error


def heat_map(table: ConfusionTable, *, dark: bool = False) -> Figure:
    """Rows are true classes, columns what they were taken for, colours shares of the row.

    A line parts seen from unseen classes. Up to 60 classes are named. A class without pixels has
    an empty row.
    """
    look = theme(dark=dark)
    k = len(table.names)
    outside = bool(table.counts[:, k].any())
    shown = table.shares if outside else table.shares[:, :k]
    parted = 0 < table.seen < k
    size = 8 if k <= 25 else 6
    names = [
        plain(name, longest=_LONGEST) + ("*" if parted and i >= table.seen else "")
        for i, name in enumerate(table.names)
    ]
    named = k <= _NAMED
    side = max(1.2, k * (0.17 if k <= 25 else 0.11)) if named else 4.6
    margin = 0.4 + (text_inches(names, points=size) if named else 0.1)
    figure, axes = canvas(
        side * shown.shape[1] / k, side, left=margin, bottom=margin, right=_BAR_INCHES
    )
    image = axes.imshow(
        100 * shown,
        cmap="cividis",
        # Small confusions are the ones to be found: the root of the share has the even steps.
        norm=PowerNorm(0.5, vmin=0, vmax=100),
        interpolation="nearest",
        aspect="auto",
    )
    for edge in {table.seen, k} - {0, shown.shape[1]}:
        axes.axvline(edge - 0.5, color=_PARTING, linewidth=1.2)
    if parted:
        axes.axhline(table.seen - 0.5, color=_PARTING, linewidth=1.2)
    if named:
        columns = [*names, *(["none"] if outside else [])]
        axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=size)
        axes.set_yticks(range(k), names, fontsize=size)
    else:
        groups = [(0, table.seen, "seen"), (table.seen, k, "unseen")]
        marks = [((start + stop - 1) / 2, name) for start, stop, name in groups if stop > start]
        places, texts = [place for place, _ in marks], [text for _, text in marks]
        axes.set_xticks(places, texts)
        axes.set_yticks(places, texts, rotation=90, va="center")
    axes.tick_params(colors=look.ink, length=0)
    star = "  (* unseen class)" if named and parted else ""
    axes.set_xlabel(f"taken for{star}", color=look.ink)
    axes.set_ylabel("ground truth", color=look.ink)
    whole, tall = figure.get_size_inches()
    place = (1 - (_BAR_INCHES - 0.15) / whole, margin / tall, 0.14 / whole, side / tall)
    bar = figure.colorbar(image, cax=figure.add_axes(place))
    bar.set_label("per cent of the class's pixels", color=look.ink)
    bar.ax.tick_params(colors=look.ink, length=0)
    for spine in (*axes.spines.values(), *bar.ax.spines.values()):
        spine.set_color(look.line)
    return figure
