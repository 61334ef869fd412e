"""The images that a command line names: files, folders, patterns, and lists on standard input."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from vilseg_data.decode import IMAGE_SUFFIXES


def image_paths(given: Sequence[str], *, lines: Iterable[str] = ()) -> list[Path]:
    """The files that `given` means, in its order, each once.

    A folder means the images in it and below, by name; a pattern with *, ? or [ what it matches
    (`**` for folders at any depth); "-" the paths in `lines`, one a line, empty ones left out. A
    file that does not exist is kept, so that whoever opens it says so.

    Raises:
        ValueError: a folder or a pattern without an image, or nothing at all.
    """
    found: dict[Path, None] = {}
    for text in given:
        if text == "-":
            # A path on standard input is a path, whatever characters it has.
            listed = [line.rstrip("\r\n") for line in lines]
            parts = [path for line in listed if line for path in _one(Path(line))]
        elif glob.has_magic(text) and not Path(text).exists():
            parts = [
                path
                for match in sorted(glob.glob(text, recursive=True))
                for path in _one(Path(match), required=False)
            ]
            if not parts:
                raise ValueError(f"IMAGE: no image matches {text!r}; check the pattern")
        else:
            parts = _one(Path(text))
        found |= dict.fromkeys(parts)
    if not found:
        raise ValueError("IMAGE: expected at least one image, came none; name files or folders")
    return list(found)


def _one(path: Path, *, required: bool = True) -> list[Path]:
    if not path.is_dir():
        return [path]
    images = sorted(
        p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()
    )
    if required and not images:
        raise ValueError(
            f"IMAGE: no image in the folder {path}; expected files that end in "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    return images
