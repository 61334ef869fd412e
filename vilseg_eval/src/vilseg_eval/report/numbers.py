"""The numbers of results: what is read, what it is called, how it is written.

`results` is a mapping from a label to what `results.json` holds, of this version or an older one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vilseg_eval.protocols import PROTOCOLS

Results = Mapping[str, Mapping[str, Any]]

CHANCE = "chance"
UNDEFINED = "\N{EN DASH}"

MEASURES: Mapping[str, str] = {
    "miou": "mIoU",
    "overall": "pixel accuracy",
    "unseen_recall": "recall of unseen pixels",
    "class_mean": "class accuracy",
}
"""The four numbers of a protocol, by their keys in `results.json`."""

_BACKGROUND = "-background"
_EXPLAINED: Mapping[str, str] = {
    "gzlss": "Every class may be predicted, the unseen ones are averaged over: the generalised "
    "setting, Table 1 of the paper. Its pixel accuracy is a recall, that of the unseen classes' "
    "pixels pooled.",
    "seen": "Every class may be predicted, the seen ones are averaged over.",
    "harmonic": "The harmonic mean of the seen and the unseen score.",
    "all": "Every class may be predicted and every class is averaged over: Table 2 of the paper.",
    "zlss": "Only unseen classes may be predicted and only their pixels are looked at. Easier than "
    "the generalised setting; the two cannot be compared.",
}


@dataclass(frozen=True)
class Number:
    """A fraction; None where nothing defines it. `interval` as bootstrapped over images, `spread`
    the standard deviation over `runs` runs; None where they are not known."""

    value: float | None
    interval: tuple[float, float] | None = None
    spread: float | None = None
    runs: int = 1

    def around(self) -> str:
        """The interval or the spread in per cent: "30.1-38.9", "± 0.4 (3)", or nothing."""
        if self.spread is not None:
            return f"± {100 * self.spread:.1f} ({self.runs})"
        if self.interval is not None:
            low, high = self.interval
            return f"{100 * low:.1f}\N{EN DASH}{100 * high:.1f}"
        return ""

    def __str__(self) -> str:
        around = self.around()
        return percent(self.value) + (f" ({around})" if around else "")


@dataclass(frozen=True)
class Row:
    """One measure of one protocol: a number by label, and that of chance."""

    protocol: str
    measure: str
    numbers: Mapping[str, Number]
    chance: Number

    @property
    def every(self) -> dict[str, Number]:
        """All of them, chance last."""
        return {**self.numbers, CHANCE: self.chance}


def percent(value: float | None) -> str:
    """0.1234 as "12.3"; a dash for an undefined value."""
    return UNDEFINED if value is None else f"{100 * value:.1f}"


def protocol_names(results: Results) -> list[str]:
    """Every protocol that some result holds, in the order in which they are met."""
    return list(dict.fromkeys(name for result in results.values() for name in result["protocols"]))


def shown_protocols(results: Results) -> list[str]:
    """Those with a number to show: none is defined for unseen classes where a set has none."""
    return [
        name
        for name in protocol_names(results)
        for row in protocol_rows(results, name)[:1]
        if any(number.value is not None for number in row.every.values())
    ]


def title(protocol: str) -> str:
    """What a protocol is called."""
    return PROTOCOLS[protocol].title if protocol in PROTOCOLS else protocol


def explanation(protocol: str) -> str:
    """What is averaged and what may be predicted, in a sentence or two."""
    plain = protocol.removesuffix(_BACKGROUND)
    if plain == protocol:
        return _EXPLAINED.get(protocol, "As asked for when it was evaluated.")
    return f"As {title(plain)}, with background as one of the classes."


def protocol_rows(results: Results, protocol: str) -> list[Row]:
    """The measures of a protocol; one that repeats another in every column is left out."""
    rows: list[Row] = []
    for measure in MEASURES:
        row = Row(
            protocol,
            measure,
            {
                label: measured(result["protocols"].get(protocol), measure)
                for label, result in results.items()
            },
            chance(results, protocol, measure),
        )
        told = [number.value for number in row.every.values()]
        known = [[number.value for number in other.every.values()] for other in rows]
        if not rows or (told not in known and any(value is not None for value in told)):
            rows.append(row)
    return rows


def class_numbers(results: Results, protocol: str = "all") -> dict[str, dict[str, Number]]:
    """The IoU by class for each label, chance last; every class of the protocol has a number."""
    every = {label: result["protocols"].get(protocol) for label, result in results.items()}
    at_chance = next(
        (r["chance"][protocol] for r in results.values() if protocol in r["chance"]), None
    )
    names = list(
        dict.fromkeys(name for s in (at_chance, *every.values()) if s for name in s["iou"])
    )
    return {
        label: {name: class_number(scores, name) for name in names}
        for label, scores in (every | {CHANCE: at_chance}).items()
    }


def measured(scores: Mapping[str, Any] | None, measure: str) -> Number:
    """One of `MEASURES` of the scores of a protocol."""
    if scores is None:
        return Number(None)
    path = (measure,) if measure == "miou" else ("accuracy", measure)
    return _number(scores, path)


def class_number(scores: Mapping[str, Any] | None, name: str) -> Number:
    """The IoU of one class."""
    return Number(None) if scores is None else _number(scores, ("iou", name))


def chance(results: Results, protocol: str, measure: str) -> Number:
    """The number of chance under a protocol."""
    known = (r["chance"].get(protocol) for r in results.values())
    return measured(next((scores for scores in known if scores), None), measure)


def unseen_names(results: Results) -> frozenset[str]:
    """The names of the unseen classes."""
    first = next(iter(results.values()))
    named: Sequence[str] | None = first.get("unseen")
    return frozenset(first["chance"]["gzlss"]["iou"] if named is None else named)


def numbers_of(result: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Number]]:
    """Every number of a result: protocol, "miou", an accuracy or "iou", the class, the number."""
    for protocol, scores in result["protocols"].items():
        if scores is None:
            continue
        for measure in MEASURES:
            yield protocol, measure, "", measured(scores, measure)
        for name in scores["iou"]:
            yield protocol, "iou", name, class_number(scores, name)


def _number(scores: Mapping[str, Any], path: tuple[str, ...]) -> Number:
    value = _follow(scores, path)
    interval = _follow(scores.get("interval"), path)
    return Number(
        value,
        None if interval is None else (interval[0], interval[1]),
        _follow(scores.get("spread"), path),
        int(scores.get("runs", 1)),
    )


def _follow(scores: Mapping[str, Any] | None, path: tuple[str, ...]) -> Any:
    found: Any = scores
    for key in path:
        found = None if found is None else found.get(key)
    return found
