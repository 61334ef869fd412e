"""What counts as a candidate and what is scored: every setting, from stored matrices alone.

H[g, p] is the confusion matrix of the whole set (never of one image). Per scored class c
    IoU_c    = H_cc / (sum_p H[c, p] + sum_g H[g, c] - H_cc)
    recall_c = H_cc / sum_p H[c, p]
with g over the ground truth that the protocol keeps. Background and unlabelled pixels are dropped
everywhere. SPNet calls the first and the last setting below `gzlss` and `zlss`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any, Literal
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

Which = Literal["all", "unseen"]
Counts = NDArray[np.int64] | NDArray[np.float64]
Scores = dict[str, Any]

BACKGROUND_RULE = "ignore"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A setting. `candidates`: the classes a pixel may get; `scored`: the classes averaged over;
    `keep_outside`: whether ground truth of foreground classes that are not scored stays in, so
    that a scored class predicted there is a false positive."""

    name: str
    title: str
    candidates: Which
    scored: Which
    keep_outside: bool


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="gzlss",
            title="unseen classes, generalised",
            candidates="all",
            scored="unseen",
            keep_outside=True,
        ),
        Protocol(
            name="all", title="all classes", candidates="all", scored="all", keep_outside=True
        ),
        Protocol(
            name="zlss",
            title="unseen classes, restricted",
            candidates="unseen",
            scored="unseen",
            keep_outside=False,
        ),
    )
}


class NamedClasses(Interface):
    """What is read of a data set's class list (`vilseg_data.ClassList` fits)."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def unseen(self) -> Sequence[int]: ...
    @property
    def background(self) -> int | None: ...


@dataclass(frozen=True)
class ClassSets:
    """Class ids as sets: `names` of all ids in order, `unseen` ids, and the `background` id."""

    names: tuple[str, ...]
    unseen: tuple[int, ...]
    background: int | None

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ValueError("names: expected different class names; rename the repeated ones")
        wrong = [i for i in self.unseen if not 0 <= i < len(self.names) or i == self.background]
        if wrong:
            raise ValueError(
                f"unseen: expected ids of foreground classes below {len(self.names)}, got {wrong}"
            )

    @classmethod
    def of(cls, classes: NamedClasses) -> ClassSets:
        return cls(tuple(classes.names), tuple(int(i) for i in classes.unseen), classes.background)

    @property
    def foreground(self) -> tuple[int, ...]:
        return tuple(i for i in range(len(self.names)) if i != self.background)

    def ids(self, which: Which) -> tuple[int, ...]:
        """The ids of all foreground classes, or of the unseen ones, in ascending order."""
        return self.foreground if which == "all" else tuple(sorted(self.unseen))


def scores(counts: Counts, protocol: Protocol, *, sets: ClassSets) -> Scores:
    """`{"miou", "accuracy": {"unseen_recall", "overall", "class_mean"}, "iou": {name: number}}`.

    Fractions from 0 to 1; None where nothing defines the value: a class absent from ground truth
    and prediction has no IoU and is left out of the mean, one absent from the ground truth but
    predicted has IoU 0.

    Args:
        counts: (k, k + 1), rows ground truth, last column predictions outside the candidates.
    """
    if counts.shape != (len(sets.names), len(sets.names) + 1):
        raise ValueError(
            f"counts: expected {(len(sets.names), len(sets.names) + 1)} for {len(sets.names)} "
            f"class names, got {counts.shape}"
        )
    scored = sets.ids(protocol.scored)
    kept = _kept(protocol, sets=sets)
    iou: dict[str, float | None] = {}
    hits: dict[int, float] = {}
    support: dict[int, float] = {}
    for c in scored:
        hits[c] = counts[c, c].item()
        support[c] = counts[c].sum().item()
        union = support[c] + counts[kept, c].sum().item() - hits[c]
        iou[sets.names[c]] = _ratio(hits[c], union)
    unseen = [c for c in scored if c in sets.unseen]
    return {
        "miou": _mean(iou.values()),
        "accuracy": {
            "unseen_recall": _ratio(_pool(hits, unseen), _pool(support, unseen)),
            "overall": _ratio(_pool(hits, scored), _pool(support, scored)),
            "class_mean": _mean(_ratio(hits[c], support[c]) for c in scored),
        },
        "iou": iou,
    }


def chance_counts(counts: Counts, protocol: Protocol, *, sets: ClassSets) -> NDArray[np.float64]:
    """(k, k + 1) expected matrix of a labelling drawn at random with the ground truth's shares.

    Every kept pixel gets candidate c with probability q_c = n_c / sum of n over the candidates,
    n the ground-truth pixels of a class, independently of the image: E H[g, c] = n_g q_c. Scored
    with `scores`, a class of share q gets IoU q / (2 - q) where all classes are candidates.
    """
    pixels = counts.sum(1).astype(np.float64)
    candidates = list(sets.ids(protocol.candidates))
    kept = _kept(protocol, sets=sets)
    expected = np.zeros(counts.shape, dtype=np.float64)
    total = pixels[candidates].sum()
    if total > 0:
        expected[np.ix_(kept, candidates)] = np.outer(pixels[kept], pixels[candidates] / total)
    return expected


def score_protocols(
    matrices: Mapping[str, Counts], *, sets: ClassSets
) -> tuple[dict[str, Scores | None], dict[str, Scores]]:
    """The scores and those of chance, by protocol.

    Args:
        matrices: one matrix for each candidate set, `"all"` and `"unseen"`. A protocol whose
            candidate set is missing scores None; its chance is known from the ground truth.
    """
    if "all" not in matrices:
        raise ValueError('matrices: expected one named "all", got ' + repr(sorted(matrices)))
    measured: dict[str, Scores | None] = {}
    chance: dict[str, Scores] = {}
    for name, protocol in PROTOCOLS.items():
        counts = matrices.get(protocol.candidates)
        measured[name] = None if counts is None else scores(counts, protocol, sets=sets)
        expected = chance_counts(matrices["all"], protocol, sets=sets)
        chance[name] = scores(expected, protocol, sets=sets)
    return measured, chance


def _kept(protocol: Protocol, *, sets: ClassSets) -> list[int]:
    return list(sets.foreground if protocol.keep_outside else sets.ids(protocol.scored))


def _pool(values: Mapping[int, float], classes: Sequence[int]) -> float:
    return sum(values[c] for c in classes)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return fsum(defined) / len(defined) if defined else None
