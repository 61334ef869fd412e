"""Several runs as one: the mean over seeds and its spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum, sqrt
from typing import Any

from vilseg_eval.report.numbers import Number, Results, measured
from vilseg_eval.report.subject import check_comparable


def average(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One result whose every number is the mean over `results`, with "spread" beside it.

    The spread is the standard deviation of one run (divisor n - 1), None for a single one. A number
    that some runs leave undefined is the mean over the others; a protocol that one run cannot
    answer is None. The rest is as in the first result.
    """
    check_comparable({str(number): result for number, result in enumerate(results)})
    first = results[0]
    if len(results) == 1:
        return dict(first)
    return {
        **first,
        "protocols": {
            name: _average([result["protocols"].get(name) for result in results])
            for name in first["protocols"]
        },
        # A mean has no images and no clusters of its own.
        "clusters": None,
        "risk_coverage": None,
        "examples": None,
        "weights_hash": None,
        "run": None,
        "command": None,
        "runs": len(results),
    }


def differences(
    results: Results,
    *,
    protocol: str,
    measure: str,
    paired: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Number]:
    """What each result after the first has more than the first, undefined where one of them is.

    Args:
        paired: of `paired_differences`, by label: the intervals of what it holds.
    """
    (_, first), *others = results.items()
    base = measured(first["protocols"].get(protocol), measure).value
    found = {}
    for label, result in others:
        value = measured(result["protocols"].get(protocol), measure).value
        known = measured((paired or {}).get(label, {}).get(protocol), measure)
        more = None if value is None or base is None else value - base
        found[label] = Number(more, known.interval)
    return found


def _average(every: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    scores = [s for s in every if s is not None]
    if len(scores) != len(every):
        return None
    first = scores[0]
    names = list(dict.fromkeys(name for s in scores for name in s["iou"]))
    mean: dict[str, Any] = {"accuracy": {}, "iou": {}}
    spread: dict[str, Any] = {"accuracy": {}, "iou": {}}
    mean["miou"], spread["miou"] = _moments([s["miou"] for s in scores])
    for part, keys in (("accuracy", list(first["accuracy"])), ("iou", names)):
        for key in keys:
            found = _moments([s[part].get(key) for s in scores])
            mean[part][key], spread[part][key] = found
    return {**mean, "interval": None, "spread": spread, "runs": len(scores)}


def _moments(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and standard deviation of the defined values."""
    known = [value for value in values if value is not None]
    if not known:
        return None, None
    mean = fsum(known) / len(known)
    if len(known) == 1:
        return mean, None
    return mean, sqrt(fsum((value - mean) ** 2 for value in known) / (len(known) - 1))
