"""Caption sources by configuration; combinations that make no sense are refused at once."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.data.sources import photo, write_archive

from vilseg_data import (
    ArchiveCaptions,
    CaptionsConfig,
    TableCaptions,
    WorldCaptions,
    build_captions,
)


def test_the_default_is_the_world() -> None:
    config = CaptionsConfig(count=7, validation_count=3, validation_split="val", image_size=32)
    source, held_out = build_captions(config), build_captions(config, split="val")
    assert isinstance(source, WorldCaptions)
    assert isinstance(held_out, WorldCaptions)
    assert (source.split, len(source), source.image_size) == ("train", 7, 32)
    assert (held_out.split, len(held_out)) == ("val", 3)


def test_archive(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        write_archive(
            tmp_path, zips=[{"a.png": photo(1)}], captions={"a.png": [split]}, split=split
        )
    config = CaptionsConfig(kind="archive", root=tmp_path, validation_split="dev", image_size=40)
    source = build_captions(config)
    assert isinstance(source, ArchiveCaptions)
    assert source[0].image.shape == (3, 40, 40)
    assert build_captions(config, split="dev").captions(0) == ("dev",)


def test_table(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(photo(1))
    table = tmp_path / "t.csv"
    table.write_text("file,text\na.png,hello\n")
    config = CaptionsConfig(
        kind="table", table=table, root=images, image_column="file", caption_column="text"
    )
    source = build_captions(config)
    assert isinstance(source, TableCaptions)
    assert source[0].image.shape == (3, 64, 64)
    with pytest.raises(ValueError, match="a table has no splits, got 'dev'"):
        build_captions(config, split="dev")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "archive"}, "kind 'archive' needs root, got none; set root to the folder"),
        ({"kind": "archive", "root": "x", "table": "t.csv"}, "kind 'archive' reads no table"),
        ({"kind": "table"}, "kind 'table' needs table"),
        ({"kind": "table", "table": "t", "validation_split": "v"}, "a table has no splits"),
        ({"root": "x"}, "kind 'world' reads no files"),
        ({"validation_split": "train"}, "validation_split must differ from split"),
        ({"image_size": 8}, "greater than or equal to 32"),
        ({"max_broken": 2}, "less than or equal to 1"),
        ({"kind": "zip"}, "'world', 'archive' or 'table'"),
        ({"colour": 1}, "Extra inputs are not permitted"),
    ],
)
def test_bad_combinations(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CaptionsConfig.model_validate(fields)
