"""Samples as their files have them: bytes and captions, before anything is decoded.

The training sources give tensors of those samples that are sound; whoever looks for faults, or
copies samples without changing a byte, needs the files.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image
from torch import Tensor

from vilseg_data.captions.archive import MAX_BYTES, clean
from vilseg_data.captions.sample import BrokenSampleError, CaptionSource
from vilseg_data.captions.tables import list_table
from vilseg_data.decode import IMAGE_SUFFIXES

Kind = Literal[
    "archive",
    "row",
    "missing-image",
    "missing-caption",
    "long-caption",
    "empty-image",
    "bad-image",
    "tiny-image",
    "huge-image",
    "duplicate-image",
    "near-duplicate-image",
    "duplicate-caption",
    "leak",
]


@dataclass(frozen=True)
class Finding:
    """One fault: its kind, the sample or file it lies in, and what is wrong."""

    kind: Kind
    key: str
    reason: str


@dataclass(frozen=True)
class Record:
    """One sample. `read` gives the bytes of its image file, or raises `BrokenSampleError`.

    `read` may be called until the next record is asked for; a stream cannot go back.
    """

    key: str
    captions: tuple[str, ...]
    read: Callable[[], bytes] = field(compare=False)


class Records(Protocol):
    """A source of records. Each iteration starts anew and gives the same, in the same order.

    What cannot be a record comes as a `Finding` at its place, and the iteration goes on behind it.
    """

    @property
    def name(self) -> str: ...

    def total(self) -> int:
        """Records in all, for a progress bar: an estimate where only reading would tell."""
        ...

    def __iter__(self) -> Iterator[Record | Finding]: ...


class TableRecords:
    """The images that a table names, as `TableCaptions` reads it."""

    def __init__(
        self,
        table: str | Path,
        *,
        images: str | Path | None = None,
        image_column: str = "image",
        caption_column: str = "caption",
    ) -> None:
        """List the table; images are looked for when their turn comes.

        Raises:
            ValueError: no such table or folder, or a column is missing.
        """
        self._listing = list_table(
            table, images=images, image_column=image_column, caption_column=caption_column
        )
        self.name = self._listing.name

    def total(self) -> int:
        return len(self._listing.spoken)

    def __iter__(self) -> Iterator[Record | Finding]:
        for kind, fault in self._listing.faults:
            yield Finding(kind, *fault)
        for key, captions in self._listing.spoken.items():
            path = self._listing.find(key)
            if path is None:
                yield Finding("missing-image", key, f"no such file in {self._listing.folder}")
            elif captions:
                yield Record(key, tuple(captions), file_reader(path, key=key))


class FolderRecords:
    """Images anywhere below a folder, each with the captions of the `.txt` or `.json` beside it."""

    def __init__(self, root: str | Path) -> None:
        """List the images, in the order of their paths.

        Raises:
            ValueError: there is no such folder, or no image in it.
        """
        self._root = Path(root)
        self._files = image_files(self._root)
        self.name = self._root.resolve().name

    def total(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[Record | Finding]:
        for path in self._files:
            key = path.relative_to(self._root).as_posix()
            beside = {
                suffix: path.with_suffix(suffix).read_bytes()
                for suffix in (".txt", ".json")
                if path.with_suffix(suffix).is_file()
            }
            captions = sidecar_captions(beside)
            if captions:
                yield Record(key, captions, file_reader(path, key=key))
            else:
                yield no_caption(key, beside)


class SourceRecords:
    """Any caption source without files of its own, the built-in world above all: images as PNG."""

    def __init__(self, source: CaptionSource) -> None:
        self._source = source
        keys = getattr(source, "keys", None)
        self._keys: Sequence[str] = (
            keys() if callable(keys) else [f"{source.name}/{k:06d}" for k in range(len(source))]
        )
        self.name = source.name

    def total(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Record | Finding]:
        for key, reason in self._source.broken:
            yield Finding("row", key, reason)
        for index, key in enumerate(self._keys):
            yield Record(key, self._source.captions(index), partial(self._read, index))

    def _read(self, index: int) -> bytes:
        return _png(self._source[index].image)


def image_files(root: Path) -> list[Path]:
    """Every image file below `root`, sorted by path; ValueError if there is none."""
    if not root.is_dir():
        raise ValueError(f"root: expected a folder, came {root}, which is none; check the path")
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not files:
        raise ValueError(
            f"root: expected images ({', '.join(IMAGE_SUFFIXES)}), came none below {root}; "
            "give the folder of the images"
        )
    return files


def file_reader(path: Path, *, key: str) -> Callable[[], bytes]:
    """The reader of a record whose image is a file."""

    def read() -> bytes:
        try:
            if path.stat().st_size > MAX_BYTES:
                raise BrokenSampleError(key, f"more than {MAX_BYTES} bytes")
            return path.read_bytes()
        except OSError as error:
            raise BrokenSampleError(key, error.strerror or str(error)) from error

    return read


def sidecar_captions(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The captions in the files of one sample, by suffix (".txt", ".json"), as shards have them.

    A list `captions` of the `.json` comes first, then the `.txt`, then `caption` of the `.json`.
    """
    about: object = {}
    if ".json" in files:
        try:
            about = json.loads(files[".json"].decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            about = {}
    if not isinstance(about, dict):
        about = {"captions": about}
    return (
        clean(about.get("captions"))
        or clean(files.get(".txt", b"").decode("utf-8-sig", "replace"))
        or clean(about.get("caption"))
    )


def no_caption(key: str, beside: Mapping[str, bytes]) -> Finding:
    """The finding that an image has no caption in the files beside it."""
    reason = f"none in its {' or '.join(sorted(beside))}" if beside else "no .txt or .json beside"
    return Finding("missing-caption", key, reason)


def _png(image: Tensor) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG")
    return file.getvalue()
