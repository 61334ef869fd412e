"""What becomes of the pixels that belong to no class of the list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vilseg_eval.naming import background_words
from vilseg_eval.prompts import clean_words

Kind = Literal["ignore", "class", "words", "threshold", "auto"]

FORMS = "ignore, class, words:LIST, threshold:T or auto:SPLIT"


@dataclass(frozen=True, kw_only=True)
class BackgroundRule:
    """How background is predicted; unless it is ignored it counts as a class.

    ignore         its pixels are dropped
    class          it has a word like any other class
    words:LIST     it has several words: "words:sky, wall, tree", a file with one a line, or a
                   published list by name ("words:sclip-voc21")
    threshold:T    a pixel whose label has a probability below T is background
    auto:SPLIT     T is the one with the best mIoU on another split of the same set

    Args:
        words: those of `words`.
        threshold: T of `threshold`; of `auto`, once it is known.
        split: the split of `auto`.
    """

    kind: Kind = "ignore"
    words: tuple[str, ...] = ()
    threshold: float | None = None
    split: str | None = None

    @classmethod
    def parse(cls, text: str) -> BackgroundRule:
        """The rule written as in the table above."""
        kind, colon, value = text.partition(":")
        value = value.strip()
        if kind in ("ignore", "class") and not colon:
            return cls(kind="ignore" if kind == "ignore" else "class")
        if kind == "words" and value:
            return cls(kind="words", words=_words(value))
        if kind == "threshold":
            return cls(kind="threshold", threshold=_probability(value))
        if kind == "auto":
            if not value:
                raise ValueError(
                    "background: expected auto:SPLIT, came 'auto'; name the split to calibrate on, "
                    "another than the one that is scored, for instance auto:train"
                )
            return cls(kind="auto", split=value)
        raise ValueError(f"background: expected {FORMS}, came {text!r}; choose one")

    def __str__(self) -> str:
        value = {
            "words": ", ".join(self.words),
            "threshold": f"{self.threshold:g}" if self.threshold is not None else "",
            "auto": self.split,
        }.get(self.kind)
        return self.kind if value is None else f"{self.kind}:{value}"

    @property
    def counted(self) -> bool:
        """Whether background is a class."""
        return self.kind != "ignore"

    def segmenter_words(self, prompt: str) -> tuple[str, ...]:
        """The words that a segmenter has for background; `prompt` is the data set's own."""
        if self.kind == "class":
            return (prompt,)
        return self.words if self.kind == "words" else ()


def _words(value: str) -> tuple[str, ...]:
    named = background_words(value)
    if named is not None:
        return named
    path = Path(value)
    if "," not in value and path.is_file():
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return clean_words([line for line in lines if line.strip()])
    return clean_words(value.split(","))


def _probability(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ValueError(
            f"background: expected threshold:T with a probability from 0 to 1, came {value!r}; "
            "for instance threshold:0.5"
        )
    return number
