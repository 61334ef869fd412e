"""How much better one segmenter is than another on the same images, with an interval.

An image that is hard for one segmenter is hard for most, so that two intervals overlap long before
a difference is in doubt. Here both are scored on the same draws of images, and the interval is that
of the difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from vilseg_eval.intervals import Bootstrap, arranged, interval_of, replicates
from vilseg_eval.protocols import usual_protocols
from vilseg_eval.results import EvalResult


def paired_differences(
    first: EvalResult, other: EvalResult, *, bootstrap: Bootstrap | None = None
) -> dict[str, dict[str, Any]]:
    """What `other` scores more than `first`, by protocol, in the shape of its scores.

    `{"miou": x, "accuracy": {...}, "iou": {class: x}, "interval": {...}}`, fractions; None where
    one of the two is undefined. A protocol that one of them cannot answer is left out. In a draw of
    images that defines a score for one alone, the draw is left out of its interval.

    Args:
        bootstrap: of the intervals; that of `first` if None, or the usual one where it has none.

    Raises:
        ValueError: not the same images in the same order, or other classes.
    """
    _check_pair(first, other)
    draws = bootstrap or first.scoring.bootstrap or Bootstrap()
    background = all(e.about["background"] != "ignore" for e in (first, other))
    drawn = partial(
        replicates,
        protocols=usual_protocols(background=background),
        sets=first.sets,
        bootstrap=draws,
    )
    here = drawn(first.images, absent=first.scoring.absent)
    there = drawn(other.images, absent=other.scoring.absent)
    found = {}
    for name in here:
        scores = [e.results["protocols"].get(name) for e in (first, other)]
        if name not in there or None in scores:
            continue
        ends = {
            key: interval_of(there[name][key] - values, level=draws.level)
            for key, values in here[name].items()
        }
        found[name] = {**_less(*scores), "interval": arranged(ends, sets=first.sets)}
    return found


def _less(first: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "miou": _minus(first["miou"], other["miou"]),
        **{
            part: {key: _minus(value, other[part].get(key)) for key, value in first[part].items()}
            for part in ("accuracy", "iou")
        },
    }


def _minus(first: float | None, other: float | None) -> float | None:
    return None if first is None or other is None else other - first


def _check_pair(first: EvalResult, other: EvalResult) -> None:
    if first.keys != other.keys:
        odd = sorted(set(first.keys) ^ set(other.keys))
        what = f"{len(odd)} that one lacks, {odd[0]!r} first" if odd else "another order"
        raise ValueError(
            f"other: expected the {len(first.keys)} images of the first evaluation, came {what}; "
            "evaluate both on one split"
        )
    if first.sets != other.sets:
        raise ValueError(
            "other: expected the classes of the first evaluation, came others; evaluate both on "
            "one set of classes"
        )
