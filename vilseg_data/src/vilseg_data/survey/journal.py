"""What a check has seen so far, line by line on the disk, so that the next one goes on there."""

import json
from types import TracebackType
from typing import Any, BinaryIO, Self

from vilseg_data.survey.look import Seen
from vilseg_data.survey.records import Finding

_FLUSH_EVERY = 64


class Journal:
    """A file of JSON lines, one an image in the order of the source; the first names the source.

    `recall` gives back what was seen of the next image, or None once the lines are used up;
    `note` appends. A last line cut short by a kill is dropped.
    """

    def __init__(self, file: BinaryIO, *, source: str, settings: dict[str, object]) -> None:
        """Begin, or go on with, the journal in `file`, open for reading and writing.

        Raises:
            ValueError: the file is a journal of another source or other settings, or none at all.
        """
        self._file = file
        self._recalling = True
        self._noted = 0
        head = {"journal": source, **settings}
        line = self._next_line()
        if line is None:
            self._write(head)
        elif line != head:
            raise ValueError(
                f"journal: expected that of {head}, came {str(line)[:200]}; name another file or "
                "remove it"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.flush()

    def recall(self, key: str) -> Seen | None:
        """What was seen of the image `key`, which must be the next; ValueError if it is not."""
        line = self._next_line()
        if line is None:
            return None
        if line.get("key") != key:
            raise ValueError(
                f"journal: expected {key} next, came {line.get('key')}; the source has changed: "
                "remove the journal and check from the start"
            )
        if "kind" in line:
            return Seen(Finding(line["kind"], key, line["reason"]))
        return Seen(None, line["digest"], line["hash"])

    def note(self, key: str, seen: Seen) -> None:
        """Append what was seen of the image `key`."""
        if seen.finding is not None:
            self._write({"key": key, "kind": seen.finding.kind, "reason": seen.finding.reason})
        else:
            self._write({"key": key, "digest": seen.digest, "hash": seen.hash})

    def _next_line(self) -> dict[str, Any] | None:
        if not self._recalling:
            return None
        start = self._file.tell()
        line = self._file.readline()
        try:
            found = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            raise ValueError(
                "journal: expected JSON lines, came others; name another file"
            ) from None
        if isinstance(found, dict):
            return found
        self._recalling = False
        self._file.seek(start)
        self._file.truncate()
        return None

    def _write(self, line: dict[str, object]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._noted += 1
        if self._noted % _FLUSH_EVERY == 0:
            self._file.flush()
