"""Images that an evaluation is done with, line by line on the disk, so that it can go on there.

A line is the CRC-32 of its content, a blank, and JSON: a batch of images by its number. What a kill
leaves of a last line is known by its checksum and dropped. Every process has a file of its own and
reads those of all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from zlib import crc32

from vilseg_eval.counting import ImageRecord
from vilseg_eval.files import naming


class Journal:
    """The batches done of one evaluation, which `settings` tell from any other.

    Args:
        folder: of the journal alone; made with the first batch, removed by `discard`.
        settings: everything that the records depend on.
        resume: whether batches noted before are recalled; otherwise this process begins anew.
        rank: the number of this process.

    Raises:
        ValueError: to be resumed, and the folder holds a journal of other settings alone.
    """

    def __init__(
        self, folder: Path, *, settings: Mapping[str, Any], resume: bool = False, rank: int = 0
    ) -> None:
        self.folder = folder
        text = json.dumps(settings, sort_keys=True, ensure_ascii=False)
        self._mark = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._path = folder / f"{self._mark}-{rank}.jsonl"
        self._resumed = resume
        self._done: dict[int, list[ImageRecord]] = {}
        self._file: BinaryIO | None = None
        if resume:
            self._recall_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __len__(self) -> int:
        """How many batches are recalled."""
        return len(self._done)

    def recall(self, batch: int) -> list[ImageRecord] | None:
        """The records of a batch that is done, or None."""
        return self._done.get(batch)

    def note(self, batch: int, records: Sequence[ImageRecord]) -> None:
        """Append a batch; it outlives this process from here on."""
        content = json.dumps({"batch": batch, "records": [r.as_json() for r in records]}).encode()
        with naming(self._path):
            if self._file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("ab" if self._resumed else "wb")
            self._file.write(b"%08x %s\n" % (crc32(content), content))
            self._file.flush()

    def discard(self) -> None:
        """Remove the journal, when its results are written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _recall_all(self) -> None:
        found = sorted(self.folder.glob("*.jsonl")) if self.folder.is_dir() else []
        own = [path for path in found if path.name.startswith(f"{self._mark}-")]
        if found and not own:
            raise ValueError(
                f"resume: {self.folder} is the journal of an evaluation with other data, weights, "
                "words or options; repeat them, or begin anew without --resume"
            )
        for path in own:
            self._recall(path)

    def _recall(self, path: Path) -> None:
        sound = 0
        with path.open("rb") as file:
            for line in file:
                entry = _checked(line)
                if entry is None:
                    break
                records = [ImageRecord.from_json(record) for record in entry["records"]]
                self._done[entry["batch"]] = records
                sound += len(line)
        if path == self._path and sound < path.stat().st_size:
            with path.open("r+b") as own:
                own.truncate(sound)


def _checked(line: bytes) -> dict[str, Any] | None:
    """The content of a line that is whole, or None."""
    head, _, content = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or head != b"%08x" % crc32(content):
        return None
    entry: dict[str, Any] = json.loads(content)
    return entry
