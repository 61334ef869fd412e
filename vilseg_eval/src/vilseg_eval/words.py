"""Word lists as people write them: words, and other names for them after a colon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class WordList(NamedTuple):
    """Words in order, and the synonyms of those that have any."""

    words: tuple[str, ...]
    synonyms: dict[str, tuple[str, ...]]


def parse_words(text: str) -> WordList:
    """The words of a text.

    One line: "dog, grass, person", or, where a word has synonyms, "dog; person: man, woman, child"
    with semicolons between the words. Several lines: a word a line, "person: man, woman, child" or
    without a colon; empty lines and those that begin with # say nothing.

    Raises:
        ValueError: the text is blank, or a line leaves open what belongs to what.
    """
    lines = text.splitlines()
    if len(lines) > 1:
        kept = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        return _entries([_only_colons(line) for line in kept])
    if ";" in text:
        return _entries(text.split(";"))
    if ":" not in text:
        return _entries(text.split(",") if text.strip() else [])
    if "," in text.partition(":")[0]:
        raise ValueError(
            f"words: expected semicolons between words where one has synonyms, came {text!r}; "
            'write for instance "dog; person: man, woman"'
        )
    return _entries([text])


def _only_colons(line: str) -> str:
    if "," in line and ":" not in line:
        raise ValueError(
            f"words: expected one word a line, or a word, a colon and its synonyms, came "
            f"{line.strip()!r}; break the line or add the colon"
        )
    return line


def _entries(entries: Sequence[str]) -> WordList:
    words: list[str] = []
    synonyms: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        head, colon, tail = entry.partition(":")
        word = " ".join(head.split())
        words.append(word)
        if colon:
            others = tuple(" ".join(other.split()) for other in tail.split(","))
            if "" in others:
                raise ValueError(
                    f"words: expected synonyms after the colon, came {entry.strip()!r}; "
                    "name them with commas between, or leave the colon out"
                )
            synonyms[word] = others
    return WordList(tuple(words), synonyms)
