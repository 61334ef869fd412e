"""Word lists: as the command line takes them, and which of their words captions never said."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # A list of words is read, and refused, before torch is loaded.
    from vilseg_data import Tokenizer
    from vilseg_train.run import Run

_SHOWN = 8


def read_words(given: str) -> list[str]:
    """The words of "dog, grass, person", or of the file of that name, one a line.

    Raises:
        ValueError: none are named.
    """
    path = Path(given)
    try:
        lines = path.read_text("utf-8").splitlines() if path.is_file() else given.split(",")
    except UnicodeDecodeError as error:
        raise ValueError(f"--words: expected a text file, came {path}; one word a line") from error
    words = [line.strip() for line in lines if line.strip()]
    if not words:
        raise ValueError(f'--words: expected words, came {given!r}; name some: "dog, grass"')
    return words


def unread_words(tokenizer: "Tokenizer", words: Sequence[str]) -> list[str]:
    """Those of `words` that were rare or absent in the captions that the tokenizer was trained on.

    To such a tokenizer a frequent word is one token and any other several, if its vocabulary is
    large enough for the frequent ones. A phrase is unread if one of its words is. Of a tokenizer
    that was not trained on a run's captions nothing is known, and none are listed.
    """
    if tokenizer.rules != "trained":
        return []
    alone = len(tokenizer.encode("a"))

    def in_pieces(word: str) -> bool:
        return len(tokenizer.encode(f"a {word}")) > alone + 1

    return [phrase for phrase in words if any(map(in_pieces, re.findall(r"\w+", phrase)))]


def warnings_about(run: "Run", words: Sequence[str]) -> list[str]:
    """What to say before a run is asked for words: its own warnings, and which words are unread."""
    unread = unread_words(run.tokenizer, words)
    if not unread:
        return list(run.warnings)
    shown = ", ".join(unread[:_SHOWN])
    shown += f" and {len(unread) - _SHOWN} more" if len(unread) > _SHOWN else ""
    return [
        *run.warnings,
        f"{len(unread)} of {len(words)} words are no token of their own: {shown}. The captions of "
        "training hardly say them, or tokenizer.vocab_size is small; what they name is a guess",
    ]
