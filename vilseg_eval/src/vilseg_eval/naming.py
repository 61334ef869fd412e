"""The words that stand for each class: published ways of naming the same classes.

"boat" or "ship", "potted plant" or "plant": each spelling is another text embedding, and moves the
score. The lists are data, in `naming.json`, with their sources.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from vilseg_data import ClassList
from vilseg_eval.prompts import clean_words
from vilseg_eval.protocols import ClassSets

Naming = tuple[tuple[str, ...], ...]
"""The words (synonyms) of each foreground class, in the order of the ids."""

DATASET = "dataset"
NAME_SETS = (DATASET, "groupvit", "maskclip", "sclip")
_FAMILIES = ("voc", "context", "coco-stuff", "coco-object")


def name_set(classes: ClassList, name: str, *, data: str) -> Naming:
    """The words of each foreground class by a published scheme, or by a file.

    A file has either one line for each foreground class, in the order of the ids, or lines
    "class: word, word" for the classes that get other words than the set's own.

    Args:
        name: one of `NAME_SETS` ("dataset" is the set's own), or a file.
        data: the name of the data set ("voc", "context-33", "coco-stuff" ...).

    Raises:
        ValueError: no such scheme for this set, or a file that names other classes.
    """
    ids = ClassSets.of(classes).foreground
    own: dict[str, tuple[str, ...]] = {classes.names[i]: (classes.prompts[i],) for i in ids}
    if name == DATASET:
        naming = own
    elif name in NAME_SETS:
        naming = _published(own, name, data=data)
    elif Path(name).is_file():
        naming = _from_file(own, Path(name))
    else:
        raise ValueError(
            f"names: expected one of {', '.join(NAME_SETS)} or a file, came {name!r}; "
            "check the spelling or the path"
        )
    clean_words([word for words in naming.values() for word in words])
    return tuple(naming.values())


def background_words(name: str) -> tuple[str, ...] | None:
    """A published list of words that stand for background, or None if none has that name."""
    words = _facts()["background"].get(name)
    return None if words is None else tuple(words)


def flat(naming: Naming, *, ids: Sequence[int]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """All words in one list, and the class id of each; `ids` are those of the classes."""
    words = tuple(word for synonyms in naming for word in synonyms)
    owners = tuple(i for i, synonyms in zip(ids, naming, strict=True) for _ in synonyms)
    return words, owners


def _published(
    own: Mapping[str, tuple[str, ...]], name: str, *, data: str
) -> dict[str, tuple[str, ...]]:
    family = next((family for family in _FAMILIES if data.startswith(family)), data)
    schemes = _facts().get("coco-stuff" if family == "coco-object" else family, {})
    if name not in schemes:
        there = ", ".join((DATASET, *schemes))
        raise ValueError(
            f"names: expected a scheme that covers {data} ({there}), came {name!r}; "
            "choose one of these or give a file"
        )
    missing = [label for label in own if label not in schemes[name]]
    if missing:
        raise ValueError(
            f"names: {name} has no words for {', '.join(missing[:8])} of {data}; "
            "choose another scheme or give a file"
        )
    return {label: tuple(schemes[name][label]) for label in own}


def _from_file(own: Mapping[str, tuple[str, ...]], path: Path) -> dict[str, tuple[str, ...]]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    lines = [line for line in lines if line]
    if lines and all(":" in line for line in lines):
        given = {label.strip(): _words(words) for label, _, words in map(_parts, lines)}
        unknown = [label for label in given if label not in own]
        if unknown:
            raise ValueError(
                f"names: {path} names {', '.join(unknown[:8])}, which are no foreground classes; "
                f"choose of {', '.join(own)}"
            )
        return {**own, **given}
    if len(lines) != len(own):
        raise ValueError(
            f"names: expected {len(own)} lines in {path}, one for each foreground class, or lines "
            f'"class: word, word"; came {len(lines)}'
        )
    return {label: _words(line) for label, line in zip(own, lines, strict=True)}


def _parts(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


@cache
def _facts() -> dict[str, Any]:
    text = files("vilseg_eval").joinpath("naming.json").read_text(encoding="utf-8")
    facts: dict[str, Any] = json.loads(text)
    return facts
