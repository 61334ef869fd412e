"""Scores of a protocol from a stored matrix alone.

H[g, p] is the confusion matrix of the whole set (never of one image). Per scored class c
    IoU_c    = H_cc / (sum_p H[c, p] + sum_g H[g, c] - H_cc)
    recall_c = H_cc / sum_p H[c, p]
with g over the ground truth that the protocol keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import fsum
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vilseg_eval.protocols import ClassSets, Protocol, usual_protocols

Absent = Literal["skip", "zero", "error"]
ABSENT_RULES: tuple[Absent, ...] = get_args(Absent)

Counts = NDArray[np.int64] | NDArray[np.float64]
Scores = dict[str, Any]


def scores(
    counts: Counts, protocol: Protocol, *, sets: ClassSets, absent: Absent = "skip"
) -> Scores:
    """`{"miou", "accuracy": {"unseen_recall", "overall", "class_mean"}, "iou": {name: number},
    "absent": [name]}`.

    Fractions from 0 to 1; None where nothing defines the value. A class absent from ground truth
    and prediction has no IoU: it is left out of the mean ("skip"), counts 0 ("zero", as in ZS3) or
    is a ValueError ("error"). One absent from the ground truth but predicted has IoU 0.

    A harmonic protocol has "seen" and "unseen" beside, the mIoUs of its halves; "miou", "overall"
    and "class_mean" are the harmonic means of the halves', "iou" is empty.

    Args:
        counts: (k, k + 1), rows ground truth, last column predictions outside the candidates.
    """
    if counts.shape != (len(sets.names), len(sets.names) + 1):
        raise ValueError(
            f"counts: expected {(len(sets.names), len(sets.names) + 1)} for {len(sets.names)} "
            f"class names, got {counts.shape}"
        )
    if protocol.harmonic:
        seen, unseen = (
            scores(counts, protocol.half(which), sets=sets, absent=absent)
            for which in ("seen", "unseen")
        )
        return _harmonic(seen, unseen)
    scored, kept = sets.scored(protocol), list(sets.kept(protocol))
    iou: dict[str, float | None] = {}
    recall: list[float | None] = []
    hits: dict[int, float] = {}
    support: dict[int, float] = {}
    missing: list[str] = []
    for c in scored:
        hits[c] = counts[c, c].item()
        support[c] = counts[c].sum().item()
        union = support[c] + counts[kept, c].sum().item() - hits[c]
        if not union:
            missing.append(sets.names[c])
        iou[sets.names[c]] = _ratio(hits[c], union, absent=absent)
        recall.append(_ratio(hits[c], support[c], absent=absent))
    if missing and absent == "error":
        raise ValueError(
            f"absent: expected every scored class of {protocol.name} in ground truth or "
            f"prediction, {', '.join(missing)} are in neither; score with absent 'skip' or 'zero'"
        )
    unseen_ids = [c for c in scored if c in sets.unseen]
    return {
        "miou": _mean(iou.values()),
        "accuracy": {
            "unseen_recall": _ratio(_pool(hits, unseen_ids), _pool(support, unseen_ids)),
            "overall": _ratio(_pool(hits, scored), _pool(support, scored)),
            "class_mean": _mean(recall),
        },
        "iou": iou,
        "absent": missing,
    }


def chance_counts(counts: Counts, protocol: Protocol, *, sets: ClassSets) -> NDArray[np.float64]:
    """(k, k + 1) expected matrix of a labelling drawn at random with the ground truth's shares.

    Every kept pixel gets candidate c with probability q_c = n_c / sum of n over the candidates,
    n the ground-truth pixels of a class, independently of the image: E H[g, c] = n_g q_c. Scored
    with `scores`, a class of share q gets IoU q / (2 - q) where all classes are candidates.
    """
    pixels = counts.sum(1).astype(np.float64)
    candidates, kept = list(sets.candidates(protocol)), list(sets.kept(protocol))
    expected = np.zeros(counts.shape, dtype=np.float64)
    total = pixels[candidates].sum()
    if total > 0:
        expected[np.ix_(kept, candidates)] = np.outer(pixels[kept], pixels[candidates] / total)
    return expected


def score_protocols(
    matrices: Mapping[str, Counts],
    *,
    sets: ClassSets,
    protocols: Iterable[Protocol] | None = None,
    absent: Absent = "skip",
) -> tuple[dict[str, Scores | None], dict[str, Scores]]:
    """The scores and those of chance, by protocol.

    Args:
        matrices: one matrix for each candidate set, by the name `Protocol.matrix`; "all" is one of
            them. A protocol whose matrix is missing scores None; its chance is known from the
            ground truth.
        protocols: those to score; by default the usual ones, with background where its matrix is
            there.
        absent: as in `scores`; chance leaves out absent classes under "error".
    """
    if "all" not in matrices:
        raise ValueError('matrices: expected one named "all", got ' + repr(sorted(matrices)))
    chosen = usual_protocols(background="background" in matrices)
    measured: dict[str, Scores | None] = {}
    chance: dict[str, Scores] = {}
    for protocol in chosen if protocols is None else protocols:
        counts = matrices.get(protocol.matrix)
        measured[protocol.name] = (
            None if counts is None else scores(counts, protocol, sets=sets, absent=absent)
        )
        expected = chance_counts(matrices["all"], protocol, sets=sets)
        lenient: Absent = "skip" if absent == "error" else absent
        chance[protocol.name] = scores(expected, protocol, sets=sets, absent=lenient)
    return measured, chance


def harmonic_mean(a: float | None, b: float | None) -> float | None:
    """2 a b / (a + b); 0 where both are, None where one is undefined."""
    if a is None or b is None:
        return None
    return 2 * a * b / (a + b) if a + b else 0.0


def _harmonic(seen: Scores, unseen: Scores) -> Scores:
    both = (seen["accuracy"], unseen["accuracy"])
    return {
        "miou": harmonic_mean(seen["miou"], unseen["miou"]),
        "accuracy": {
            "unseen_recall": unseen["accuracy"]["unseen_recall"],
            "overall": harmonic_mean(*(half["overall"] for half in both)),
            "class_mean": harmonic_mean(*(half["class_mean"] for half in both)),
        },
        "iou": {},
        "absent": [*seen["absent"], *unseen["absent"]],
        "seen": seen["miou"],
        "unseen": unseen["miou"],
    }


def _pool(values: Mapping[int, float], classes: Sequence[int]) -> float:
    return sum(values[c] for c in classes)


def _ratio(part: float, whole: float, *, absent: Absent = "skip") -> float | None:
    if whole:
        return part / whole
    return 0.0 if absent == "zero" else None


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return fsum(defined) / len(defined) if defined else None
