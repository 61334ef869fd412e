"""Results in the shape of `results.json`, from matrices drawn at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vilseg_eval.protocols import ClassSets
from vilseg_eval.report import ConfusionTable, Example


def class_sets(count: int, *, unseen: int = 0, names: Sequence[str] = ()) -> ClassSets:
    """`count` foreground classes after a background, the last `unseen` of them unseen."""
    chosen = ["background", *(names or [f"class {i}" for i in range(count)])]
    return ClassSets(tuple(chosen), tuple(range(count + 1 - unseen, count + 1)), 0)


def random_counts(sets: ClassSets, *, skill: float, seed: int) -> NDArray[np.int64]:
    """A matrix (k, k + 1) whose rows have the same sums for every seed.

    About `skill` of the first class is right, less of later ones. Of more than two classes the last
    is in no ground truth.
    """
    rng = np.random.default_rng(seed)
    k = len(sets.names)
    counts = np.zeros((k, k + 1), dtype=np.int64)
    for i in sets.foreground:
        share = skill * (1 - 0.8 * i / k)
        guesses = (1 - share) * rng.dirichlet(np.full(k + 1, 0.3))
        guesses[i] += share
        counts[i] = rng.multinomial(1000 * (k - i), guesses / guesses.sum())
    if k > 3:
        counts[-1] = 0
    return counts


def result(
    sets: ClassSets, counts: NDArray[np.int64], *, intervals: bool = True, **about: Any
) -> dict[str, Any]:
    """What `results.json` holds for one matrix; intervals of a tenth around each number."""
    names = [sets.names[i] for i in sets.foreground]
    foreground, unseen = list(sets.foreground), list(sets.unseen)
    kinds = {
        "gzlss": (unseen, foreground),
        "all": (foreground, foreground),
        "zlss": (unseen, unseen),
    }
    measured, chance = {}, {}
    for name, (scored, kept) in kinds.items():
        candidates = unseen if name == "zlss" else foreground
        measured[name] = _scores(counts, scored, kept, sets=sets)
        expected = np.zeros(counts.shape)
        pixels = counts.sum(1).astype(np.float64)
        shares = pixels[candidates] / max(1.0, pixels[candidates].sum())
        expected[np.ix_(kept, candidates)] = np.outer(pixels[kept], shares)
        chance[name] = _scores(expected, scored, kept, sets=sets)
    if intervals:
        measured = {n: {**s, "interval": _around(s)} for n, s in measured.items()}
    return {
        "segmenter": "vilseg",
        "data": "voc",
        "split": "val",
        "images": 100,
        "names": names,
        "templates": ["a photo of a {}"],
        "background": "ignore",
        "versions": {"vilseg-eval": "0.1.0"},
        "protocols": measured,
        "chance": chance,
        **about,
    }


def confusion_table(sets: ClassSets, counts: NDArray[np.int64]) -> ConfusionTable:
    """The table of a matrix."""
    return ConfusionTable.of(counts, sets=sets)


def examples(titles: Sequence[str], *, words: int, count: int = 2, seed: int = 0) -> list[Example]:
    """Small pictures with maps of all words."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Example(
            f"image {number}",
            torch.randint(0, 256, (3, 24, 32), generator=generator, dtype=torch.uint8),
            {
                title: torch.randint(-1, words, (24, 32), generator=generator)
                for title in ("ground truth", *titles)
            },
        )
        for number in range(count)
    ]


def _scores(
    counts: NDArray[Any], scored: Sequence[int], kept: Sequence[int], *, sets: ClassSets
) -> dict[str, Any]:
    def ratio(part: float, whole: float) -> float | None:
        return part / whole if whole else None

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    hits = {c: float(counts[c, c]) for c in scored}
    pixels = {c: float(counts[c].sum()) for c in scored}
    iou = {c: ratio(hits[c], pixels[c] + float(counts[kept, c].sum()) - hits[c]) for c in scored}
    new = [c for c in scored if c in sets.unseen]
    return {
        "miou": mean(list(iou.values())),
        "accuracy": {
            "unseen_recall": ratio(sum(hits[c] for c in new), sum(pixels[c] for c in new)),
            "overall": ratio(sum(hits.values()), sum(pixels.values())),
            "class_mean": mean([ratio(hits[c], pixels[c]) for c in scored]),
        },
        "iou": {sets.names[c]: value for c, value in iou.items()},
    }


def _around(scores: Mapping[str, Any]) -> dict[str, Any]:
    def interval(value: float | None) -> list[float] | None:
        return None if value is None else [0.9 * value, min(1.0, 1.1 * value + 0.001)]

    return {
        "miou": interval(scores["miou"]),
        "accuracy": {key: interval(value) for key, value in scores["accuracy"].items()},
        "iou": {key: interval(value) for key, value in scores["iou"].items()},
    }
