"""Parquet tables; pyarrow is an extra, so these tests skip where it is not installed."""

import sys
from pathlib import Path
from typing import Any

import pytest
from tests.data.sources import photo

from vilseg_data import TableCaptions


def write(folder: Path, columns: dict[str, list[Any]]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (folder / "a.png").write_bytes(photo(3))
    (folder / "b.png").write_bytes(photo(4))
    parquet.write_table(pyarrow.table(columns), folder / "t.parquet", row_group_size=2)
    return folder / "t.parquet"


def test_rows_of_an_image_are_its_captions(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "image": ["a.png", "b.png", "a.png", "gone.png", None, "b.png"],
        "caption": ["one", "two 🦩", "three", "four", "five", None],
        "width": [1, 2, 3, 4, 5, 6],
    }
    source = TableCaptions(write(tmp_path, columns), image_size=8)
    assert [source.captions(k) for k in range(len(source))] == [("one", "three"), ("two 🦩",)]
    assert source[1].image[0, 0, 0] == 4
    assert source.broken == [
        ("t.parquet line 5", "no image"),
        ("b.png", "no caption in line 6"),
        ("gone.png", f"no such file in {tmp_path} (1 captions)"),
    ]


def test_lists_of_captions(tmp_path: Path) -> None:
    table = write(tmp_path, {"file": ["a.png"], "texts": [["one", "two"]]})
    source = TableCaptions(table, image_column="file", caption_column="texts")
    assert source.captions(0) == ("one", "two")
    with pytest.raises(ValueError, match=r"expected a column 'image', came \['file', 'texts'\]"):
        TableCaptions(table)


def test_a_table_cut_short(tmp_path: Path) -> None:
    table = write(tmp_path, {"image": ["a.png"], "caption": ["one"]})
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(ValueError, match="expected readable Parquet, came after row 0"):
        TableCaptions(table)


def test_without_pyarrow_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="pip install pyarrow, or"):
        TableCaptions(tmp_path / "t.parquet")
