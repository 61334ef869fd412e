"""Names of classes and runs as text of a plot."""

from __future__ import annotations

_LONGEST = 32


def plain(name: str, *, longest: int = _LONGEST) -> str:
    """One line of at most `longest` characters that matplotlib draws as it stands."""
    line = " ".join(name.split())
    short = line if len(line) <= longest else line[: longest - 1] + "…"
    # A pair of dollars would be read as a formula.
    return short.replace("$", r"\$")
