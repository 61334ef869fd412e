"""What results are of, and whether they may stand side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vilseg_eval.report.numbers import Results

# By the key of a result: what it is called where two differ.
_SAME = {
    "data": "the data is",
    "split": "the split is",
    "images": "the number of images is",
    "list_hash": "the list of images has the hash",
    "resolution": "the resolution is",
}


def check_comparable(results: Results) -> None:
    """ValueError unless there is a result and all are of the same images and classes."""
    if not results:
        raise ValueError("results: expected at least one, came none; evaluate first")
    (name, first), *others = results.items()
    for label, result in others:
        found = _difference(first, result)
        if found is not None:
            what, here, there = found
            raise ValueError(
                f"results: expected {name!r} and {label!r} of the same data, came different ones: "
                f"{what} {here} and {there}; compare evaluations of one set and split"
            )


def evaluation_title(result: Mapping[str, Any]) -> str:
    """Heading of the page of one evaluation: run, data and split."""
    return f"{result['run']} on {data_and_split(result)}"


def data_and_split(result: Mapping[str, Any]) -> str:
    """Both where the split is known."""
    return " ".join(str(result[key]) for key in ("data", "split") if result.get(key))


def subject(result: Mapping[str, Any]) -> str:
    """One line: data, split, images and words."""
    split = [str(result["split"])] if result.get("split") else []
    return (
        f"{' · '.join([str(result['data']), *split])} · {_count(result['images'], 'image')} · "
        f"{_count(len(result['names']), 'word')}"
    )


def _difference(first: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str, str] | None:
    for key, what in _SAME.items():
        # Older results do not hold every key.
        if key in first and key in other and first[key] != other[key]:
            return what, repr(first[key]), repr(other[key])
    here, there = (list(result["chance"]["all"]["iou"]) for result in (first, other))
    if here != there:
        only = [name for name in here if name not in there] or here
        others = [name for name in there if name not in here] or there
        return "the classes are", _named(only), _named(others)
    if list(first["chance"]["gzlss"]["iou"]) != list(other["chance"]["gzlss"]["iou"]):
        return (
            "the unseen classes are",
            _named(list(first["chance"]["gzlss"]["iou"])),
            _named(list(other["chance"]["gzlss"]["iou"])),
        )
    if first["chance"]["all"]["iou"] != other["chance"]["all"]["iou"]:
        return "the masks hold", "one share of each class", "another"
    return None


def _named(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return (", ".join(map(repr, names[:4])) or "none") + more


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
