"""Files that appear whole and together, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An `OSError` in here is one of `path`: writing to an open file raises it without a name."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def write_atomically(contents: Mapping[Path, bytes]) -> None:
    """Write every file beside its place, then rename them all; on failure no file is left.

    Missing folders are made. A disk that is full is noticed before the first old file is replaced,
    and the `OSError` names the file that did not fit.
    """
    temporary: dict[Path, str] = {}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with naming(path):
                handle, temporary[path] = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(temporary[path], _ordinary_mode())
        for path in contents:
            os.replace(temporary[path], path)
            del temporary[path]
    finally:
        for name in temporary.values():
            os.unlink(name)


def _ordinary_mode() -> int:
    # mkstemp makes files that only their owner can read; results are for everyone.
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask
