"""A word list as the command line takes it."""

from pathlib import Path


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
