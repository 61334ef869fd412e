"""Which form of a set a folder holds, and the lists of its splits."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SHOWN = 8


@dataclass(frozen=True)
class Form:
    """One way a set is distributed: for each part, where it may lie below the root.

    A place that ends in "/" is a folder, any other a file.
    """

    name: str
    parts: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Found:
    """A form that a root holds: its name and the path of each part."""

    form: str
    parts: Mapping[str, Path]


def find_form(root: Path, forms: Sequence[Form], *, what: str, form: str | None = None) -> Found:
    """The first of `forms` of which `root` holds every part, or the one named `form`.

    Raises:
        ValueError: it holds none; the text lists what was looked for and what is there.
    """
    names = [known.name for known in forms]
    if form is not None and form not in names:
        raise ValueError(f"form: expected one of {names} of {what}, came {form!r}; choose one")
    asked = [known for known in forms if form in (None, known.name)]
    looked_for = []
    for known in asked:
        parts = {part: _first(root, places) for part, places in known.parts.items()}
        if all(path is not None for path in parts.values()):
            return Found(known.name, {part: path for part, path in parts.items() if path})
        looked_for.append(f"{known.name} ({'; '.join(_report(root, known, parts))})")
    raise ValueError(
        f"root: expected {what} in {'one of its forms' if len(asked) > 1 else 'the form'}, came "
        f"{root}, {_contents(root)}; looked for {', '.join(looked_for)}; "
        "give the folder that holds the unpacked set"
    )


def _first(root: Path, places: Sequence[str]) -> Path | None:
    for place in places:
        path = root / place
        if path.is_dir() if place.endswith("/") else path.is_file():
            return path
    return None


def _report(root: Path, form: Form, parts: Mapping[str, Path | None]) -> Iterable[str]:
    for part, path in parts.items():
        if path is None:
            yield f"no {' or '.join(form.parts[part])}"
        else:
            yield f"found {path.relative_to(root)}"


def _contents(root: Path) -> str:
    if not root.is_dir():
        return "which is no folder"
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in root.iterdir())
    if not names:
        return "which is empty"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"which holds {', '.join(names[:_SHOWN])}{more}"


def read_split(places: Sequence[Path], split: str) -> tuple[list[str], Path]:
    """The ids of `<split>.txt` in the first of `places` that has it, sorted, and its path.

    Raises:
        ValueError: no such list, an empty one, or one with repeats.
    """
    for place in places:
        path = place / f"{split}.txt"
        if not path.is_file():
            continue
        ids = path.read_text(encoding="utf-8-sig", errors="replace").split()
        if not ids:
            raise ValueError(
                f"split: expected at least one id, came {path}, which is empty; list them"
            )
        if len(set(ids)) != len(ids):
            raise ValueError(
                f"{path}: expected every id once, came {len(ids)} with repeats; drop them"
            )
        return sorted(ids), path
    found = sorted({path.stem for place in places for path in place.glob("*.txt")})
    folders = ", ".join(str(place) for place in places)
    raise ValueError(f"split: expected one of {found} of {folders}, came {split!r}; choose one")


def is_list(ids: Sequence[str], known: Mapping[str, Any]) -> bool:
    """Whether `ids` are those of a known list: by their hash, or without one by their number."""
    if "sha256" not in known:
        return len(ids) == int(known["count"])
    return list_hash(ids) == str(known["sha256"])


def list_hash(ids: Iterable[str]) -> str:
    """SHA-256 of the sorted ids, a line each, in hexadecimal."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(ids)).encode()).hexdigest()


def compare_list(
    ids: Sequence[str], known: Mapping[str, Any] | None, *, split: str
) -> tuple[str, ...]:
    """A note for the user where `ids` are not the known list of that name."""
    if known is None or is_list(ids, known):
        return ()
    gap = known["count"] - len(ids)
    why = f"{gap} are missing, " if gap > 0 else f"{-gap} are too many, " if gap < 0 else ""
    return (
        f"{split} lists {len(ids)} ids and is not the official list of {known['count']}: "
        f"{why}scores on it are not comparable with published ones",
    )
