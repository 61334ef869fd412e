"""Files that appear whole and together, or not at all."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

# Matches what a killed process leaves beside the files it was writing.
UNFINISHED = ".*.part"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An `OSError` in here is one of `path`: writing to an open file raises it without a name."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


class Part:
    """A hidden file beside `path`: written through `file`, then moved there, or discarded.

    The folder must exist. `complete` puts it on the disk, `move` gives it its name, and `discard`
    removes what was not moved; after `move` it does nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with naming(path):
            handle, name = tempfile.mkstemp(
                dir=path.parent, prefix=f".{path.name}.", suffix=".part"
            )
        self._part = Path(name)
        self.file = os.fdopen(handle, "wb")

    def complete(self) -> None:
        """Everything written is on the disk; a full one is an `OSError` that names the file."""
        with naming(self.path):
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            self._part.chmod(_ordinary_mode())

    def move(self) -> None:
        """Take the place of whatever stood under the name."""
        with naming(self.path):
            os.replace(self._part, self.path)

    def discard(self) -> None:
        """Leave nothing but what was moved."""
        with suppress(OSError):  # what is still to be written is not wanted
            self.file.close()
        self._part.unlink(missing_ok=True)


def write_atomically(contents: Mapping[Path, bytes]) -> None:
    """Write every file beside its place, then rename them all; on failure no file is left.

    Missing folders are made. A disk that is full is noticed before the first old file is replaced,
    and the `OSError` names the file that did not fit.
    """
    with ExitStack() as stack:
        parts = []
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = Part(path)
            stack.callback(part.discard)
            with naming(path):
                part.file.write(content)
            part.complete()
            parts.append(part)
        for part in parts:
            part.move()


def _ordinary_mode() -> int:
    # mkstemp makes files that only their owner can read; these are for everyone.
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask
