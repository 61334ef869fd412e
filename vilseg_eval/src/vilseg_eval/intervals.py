"""How far a score would move with other images: percentile bootstrap intervals.

Images are drawn again with replacement, n of n; every score is computed from the sums of each draw.
Counts stay exact: sums of integers below 2^53 in float64, so that neither the order of a product
nor the number of threads changes a bit.

Legend: b draws, n images, k classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilseg_eval.image_counts import ImageCounts
from vilseg_eval.protocols import ClassSets, Protocol
from vilseg_eval.scores import Absent

Floats = NDArray[np.float64]
Interval = list[float] | None

_WEIGHTS_AT_ONCE = 2**21
_IOU = "iou "


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """`replicates` draws; the interval leaves out (1 - level) / 2 of them on either side."""

    replicates: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.replicates < 1:
            raise ValueError(
                f"replicates: expected at least 1, got {self.replicates}; 1000 is usual"
            )
        if not 0 < self.level < 1:
            raise ValueError(f"level: expected a share between 0 and 1, got {self.level}; try 0.95")
        if self.seed < 0:
            raise ValueError(f"seed: expected at least 0, got {self.seed}")


@dataclass(frozen=True)
class _Sums:
    """Of each draw, by class: (b, k) each, as in `Marginals`."""

    hits: Floats
    support: Floats
    predicted: Floats


def intervals(
    images: Mapping[str, ImageCounts],
    protocols: Iterable[Protocol],
    *,
    sets: ClassSets,
    bootstrap: Bootstrap,
    absent: Absent = "skip",
) -> dict[str, dict[str, Any]]:
    """By protocol `{"miou": [low, high], "accuracy": {...}, "iou": {class: [low, high]}}`.

    The keys are those of `scores`. None where no draw defines the score; a class that some draws
    lack has the interval of the others. Draw number i depends on the seed and on n alone: more
    replicates only add to it.

    Args:
        images: by the name `Protocol.matrix`; protocols whose matrix is missing are left out.
    """
    return {
        name: arranged(
            {key: interval_of(values, level=bootstrap.level) for key, values in drawn.items()},
            sets=sets,
        )
        for name, drawn in replicates(
            images, protocols, sets=sets, bootstrap=bootstrap, absent=absent
        ).items()
    }


def replicates(
    images: Mapping[str, ImageCounts],
    protocols: Iterable[Protocol],
    *,
    sets: ClassSets,
    bootstrap: Bootstrap,
    absent: Absent = "skip",
) -> dict[str, dict[str, Floats]]:
    """By protocol and score: the score in each draw, (b,) each, nan where undefined.

    Equal numbers of images are drawn alike, so that draws of two segmenters can be paired. Scores
    are "miou", "unseen_recall", "overall", "class_mean" and "iou <class id>".
    """
    chosen = [p for p in protocols if p.matrix in images]
    drawn = _draw(images, chosen, sets=sets, bootstrap=bootstrap)
    return {
        protocol.name: _score(
            drawn[_source(protocol, sets=sets)], protocol, sets=sets, zero=absent == "zero"
        )
        for protocol in chosen
    }


def arranged(values: Mapping[str, Any], *, sets: ClassSets) -> dict[str, Any]:
    """What belongs to the scores of `replicates`, in the shape of `scores`."""
    return {
        "miou": values["miou"],
        "accuracy": {key: values[key] for key in ("unseen_recall", "overall", "class_mean")},
        "iou": {
            sets.names[int(key.removeprefix(_IOU))]: value
            for key, value in values.items()
            if key.startswith(_IOU)
        },
    }


def _source(protocol: Protocol, *, sets: ClassSets) -> tuple[str, tuple[int, ...]]:
    """What the sums of a protocol depend on: the matrix, and whose pixels are kept."""
    return protocol.matrix, sets.kept(protocol)


def _draw(
    images: Mapping[str, ImageCounts],
    protocols: Iterable[Protocol],
    *,
    sets: ClassSets,
    bootstrap: Bootstrap,
) -> dict[tuple[str, tuple[int, ...]], _Sums]:
    tables = {}
    for source in {_source(p, sets=sets): None for p in protocols}:
        margins = images[source[0]].marginals(source[1])
        tables[source] = np.concatenate(
            [margins.hits, margins.support, margins.predicted], axis=1
        ).astype(np.float64)
    sums: dict[tuple[str, tuple[int, ...]], list[Floats]] = {source: [] for source in tables}
    if tables:
        count = len(next(iter(tables.values())))
        for weights in _weights(count, bootstrap):
            for source, table in tables.items():
                sums[source].append(weights @ table)
    return {
        source: _Sums(*np.split(np.concatenate(parts), 3, axis=1)) for source, parts in sums.items()
    }


def _weights(count: int, bootstrap: Bootstrap) -> Iterator[Floats]:
    """(some draws, n) each: how often each image is drawn."""
    rng = np.random.default_rng(bootstrap.seed)
    rows = max(1, _WEIGHTS_AT_ONCE // count)
    for start in range(0, bootstrap.replicates, rows):
        size = min(rows, bootstrap.replicates - start)
        chosen = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        weights = np.bincount(chosen.reshape(-1), minlength=size * count)
        yield weights.reshape(size, count).astype(np.float64)


def _score(sums: _Sums, protocol: Protocol, *, sets: ClassSets, zero: bool) -> dict[str, Floats]:
    """(b,) each, nan where undefined."""
    if protocol.harmonic:
        seen, unseen = (
            _score(sums, protocol.half(which), sets=sets, zero=zero) for which in ("seen", "unseen")
        )
        means = {
            key: _harmonic(seen[key], unseen[key]) for key in ("miou", "overall", "class_mean")
        }
        return means | {"unseen_recall": unseen["unseen_recall"]}
    scored = list(sets.scored(protocol))
    hits, support = sums.hits[:, scored], sums.support[:, scored]
    iou = _ratio(hits, support + sums.predicted[:, scored] - hits, zero=zero)
    recall = _ratio(hits, support, zero=zero)
    unseen_columns = [i for i, c in enumerate(scored) if c in sets.unseen]
    return {
        "miou": _mean(iou),
        "unseen_recall": _ratio(
            hits[:, unseen_columns].sum(1), support[:, unseen_columns].sum(1), zero=False
        ),
        "overall": _ratio(hits.sum(1), support.sum(1), zero=False),
        "class_mean": _mean(recall),
        **{f"{_IOU}{c}": iou[:, i] for i, c in enumerate(scored)},
    }


def _ratio(part: Floats, whole: Floats, *, zero: bool) -> Floats:
    undefined = np.full(part.shape, 0.0 if zero else np.nan)
    shares: Floats = np.divide(part, whole, out=undefined, where=whole > 0)
    return shares


def _mean(values: Floats) -> Floats:
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(1), defined.sum(1).astype(float), zero=False)


def _harmonic(a: Floats, b: Floats) -> Floats:
    total = a + b
    means = np.divide(2 * a * b, total, out=np.zeros_like(total), where=total > 0)
    return np.where(np.isnan(total), np.nan, means)


def interval_of(values: Floats, *, level: float) -> Interval:
    """The percentile interval of the defined values; None where there is none."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return None
    outside = (1 - level) / 2
    low, high = np.quantile(defined, [outside, 1 - outside])
    return [float(low), float(high)]
