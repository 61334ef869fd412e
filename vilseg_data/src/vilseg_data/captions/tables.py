"""Captions from a table, one row a caption, beside a folder of images.

CSV, TSV, JSON lines, or Parquet, which needs pyarrow (`pip install pyarrow`).
"""

import csv
import difflib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from vilseg_data.captions.archive import clean
from vilseg_data.captions.sample import Broken, CaptionSample
from vilseg_data.decode import decode_image

KINDS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".parquet")

Row = tuple[int, dict[str, object] | str]  # line number, and the row or why it cannot be read


def _check_columns(columns: Sequence[str], *, wanted: Sequence[str], table: Path) -> None:
    for column in wanted:
        if column not in columns:
            near = difflib.get_close_matches(column, columns, n=1, cutoff=0.0)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            raise ValueError(
                f"{table}: expected a column {column!r}, came {list(columns)}{hint}; "
                "name it with image_column or caption_column"
            )


def _delimited(table: Path, *, wanted: Sequence[str]) -> Iterator[Row]:
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = file.readline()
        file.seek(0)
        tabs = table.suffix.lower() == ".tsv" or (table.suffix.lower() == ".txt" and "\t" in header)
        reader = csv.DictReader(file, delimiter="\t" if tabs else ",")
        try:
            columns = list(reader.fieldnames or [])
        except csv.Error as error:
            raise ValueError(
                f"{table}: expected a first line of column names, came: {error}; write one"
            ) from error
        _check_columns(columns, wanted=wanted, table=table)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.reader.line_num, f"not readable: {error}"
                continue
            if any(row.pop(None, ())):
                mark = "tab" if tabs else "comma"
                reason = f"more cells than the {len(columns)} columns: quote those with a {mark}"
                yield reader.line_num, reason
                continue
            if tabs and any(value and "\t" in value and "\n" in value for value in row.values()):
                raise ValueError(
                    f"{table}: expected every quotation mark that opens a cell to be closed, "
                    f"came one before line {reader.line_num} that takes in whole rows; double "
                    "it or remove it"
                )
            yield reader.line_num, row


def _json_lines(table: Path, *, wanted: Sequence[str]) -> Iterator[Row]:
    checked = False
    with table.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, f"not JSON: {error}"
                continue
            if not isinstance(row, dict):
                yield number, f"not a JSON object but {type(row).__name__}"
                continue
            if not checked:
                _check_columns(list(row), wanted=wanted, table=table)
                checked = True
            yield number, row


def _parquet(table: Path, *, wanted: Sequence[str]) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            f"{table}: expected pyarrow to read it, which cannot be imported ({error}); "
            "pip install pyarrow, or convert it to CSV"
        ) from error
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(table) as file:
            _check_columns(file.schema_arrow.names, wanted=wanted, table=table)
            for batch in file.iter_batches(columns=list(wanted)):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{table}: expected readable Parquet, came after row {number}: {error}; fetch it again"
        ) from error


_READERS = {".jsonl": _json_lines, ".ndjson": _json_lines, ".parquet": _parquet}


def read_rows(table: Path, *, wanted: Sequence[str]) -> Iterator[Row]:
    """The rows of a table; ValueError where a column of `wanted` lacks."""
    return _READERS.get(table.suffix.lower(), _delimited)(table, wanted=wanted)


class Listing(NamedTuple):
    """A table as it reads, before any image is looked for.

    spoken: every image named, in order, with the captions of its rows, none if all are empty.
    faults: rows that cannot be used, each with what is at fault with it.
    """

    name: str
    folder: Path
    rows: int
    spoken: dict[str, list[str]]
    faults: list[tuple[Literal["row", "missing-caption"], Broken]]

    def find(self, image: str) -> Path | None:
        """The file of an image, if there is one."""
        path = self.folder / image
        # os.path.isfile answers False for names that no file can have; Path.is_file raises.
        return path if os.path.isfile(path) else None


def list_table(
    table: str | Path, *, images: str | Path | None, image_column: str, caption_column: str
) -> Listing:
    """Read a table for `TableCaptions`, whose arguments these are.

    Raises:
        ValueError: no such table or folder, another kind of file, or a column is missing.
    """
    path = Path(table)
    if path.suffix.lower() not in KINDS:
        raise ValueError(
            f"table: expected a file that ends in one of {KINDS}, came {path.name}; convert it"
        )
    if not path.is_file():
        raise ValueError(f"table: expected a file, came {path}, which is none; check the path")
    folder = path.parent if images is None else Path(images)
    if not folder.is_dir():
        raise ValueError(f"images: expected a folder, came {folder}, which is none; check the path")
    rows = 0
    listing = Listing(path.stem, folder, rows, {}, [])
    for number, row in read_rows(path, wanted=(image_column, caption_column)):
        rows += 1
        where = f"{path.name} line {number}"
        if isinstance(row, str):
            listing.faults.append(("row", Broken(where, row)))
            continue
        image, captions = row.get(image_column), clean(row.get(caption_column))
        if not isinstance(image, str) or not image.strip():
            listing.faults.append(("row", Broken(where, f"no {image_column}")))
            continue
        if not captions:
            fault = Broken(image.strip(), f"no {caption_column} in line {number}")
            listing.faults.append(("missing-caption", fault))
        listing.spoken.setdefault(image.strip(), []).extend(captions)
    return listing._replace(rows=rows)


class TableCaptions:
    """The images named in a table, each with the captions of all its rows.

    `table`: .csv, .tsv, .txt (the first line decides between the two), .jsonl or .parquet.
    `images`: the folder that the image column is relative to, by default the table's own. With
    `image_size` every image is squashed to a square of that size as it is decoded. Rows that cannot
    be used (no image named, no such file, no caption) are listed in `broken`.
    """

    def __init__(
        self,
        table: str | Path,
        *,
        images: str | Path | None = None,
        image_column: str = "image",
        caption_column: str = "caption",
        image_size: int | None = None,
    ) -> None:
        listing = list_table(
            table, images=images, image_column=image_column, caption_column=caption_column
        )
        self.name = listing.name
        self.image_size = image_size
        self.broken = [fault for _, fault in listing.faults]
        self._entries: list[tuple[str, Path, tuple[str, ...]]] = []
        for key, texts in listing.spoken.items():
            if not texts:
                continue
            if (path := listing.find(key)) is not None:
                self._entries.append((key, path, tuple(texts)))
            else:
                reason = f"no such file in {listing.folder} ({len(texts)} captions)"
                self.broken.append(Broken(key, reason))
        if not self._entries:
            first = f", first {self.broken[0].key}: {self.broken[0].reason}" if self.broken else ""
            raise ValueError(
                f"{table}: expected at least one image of {listing.folder} with a caption, came "
                f"{listing.rows} rows and none usable{first}; check the columns and the folder"
            )

    def __len__(self) -> int:
        return len(self._entries)

    def captions(self, index: int) -> tuple[str, ...]:
        """The captions of image `index`, in the order of the rows."""
        return self._entries[index][2]

    def __getitem__(self, index: int) -> CaptionSample:
        key, path, captions = self._entries[index]
        return CaptionSample(key, decode_image(path, key=key, size=self.image_size), captions)
