"""Caption sources by configuration; combinations that make no sense are refused at once."""

from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.data.captions.shard_files import write_shards
from tests.data.sources import photo, tokens, write_archive

from vilseg_data import (
    ArchiveCaptions,
    BrokenSampleError,
    CaptionLoader,
    CaptionsConfig,
    CaptionSource,
    ShardCaptions,
    StreamLoader,
    TableCaptions,
    WorldCaptions,
    build_captions,
    build_loader,
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
    with pytest.raises(ValueError, match="split: expected none for kind 'table', came 'dev'"):
        build_captions(config, split="dev")


def test_shards(tmp_path: Path) -> None:
    write_shards(tmp_path, [2, 1], captions=2)
    config = CaptionsConfig(kind="shards", shards=f"{tmp_path}/{{00000..00001}}.tar", image_size=32)
    source = build_captions(config)
    assert isinstance(source, ShardCaptions)
    assert (len(source), source[2].image.shape) == (3, (3, 32, 32))
    every = build_captions(config.model_copy(update={"captions": "all", "person": "x"}))
    assert [every.captions(k) for k in range(6)] == [(f"{k // 2} {k % 2}",) for k in range(6)]


def test_a_stream_is_its_head_and_a_loader(tmp_path: Path) -> None:
    write_shards(tmp_path, [5, 4], captions=2)
    config = CaptionsConfig(
        kind="shards", shards=str(tmp_path), stream=True, head=7, shuffle=3, image_size=32
    )
    head = build_captions(config)
    assert isinstance(head, CaptionSource)
    assert (len(head), head.name, head.broken) == (7, "00000.tar and 1 more", [])
    assert [head.captions(k) for k in range(7)] == [(f"{k} 0", f"{k} 1") for k in range(7)]
    assert head[6].image[0, 0, 0] == 6
    loader = build_loader(config, head, tokenizer=tokens, batch_size=3, seed=1)
    assert isinstance(loader, StreamLoader)
    seen = [key for _ in range(3) for key in loader.next_batch().keys]
    assert len(set(seen)) == 9
    loader.close()
    listed = build_captions(config.model_copy(update={"stream": False}))
    assert isinstance(
        build_loader(config, listed, tokenizer=tokens, batch_size=3, seed=1), CaptionLoader
    )
    with pytest.raises(ValueError, match="batch_size: expected a multiple of the 2 ranks"):
        build_loader(config, head, tokenizer=tokens, batch_size=3, seed=1, world_size=2)
    shares = [
        build_loader(config, source, tokenizer=tokens, batch_size=4, seed=1, rank=1, world_size=2)
        for source in (head, listed)
    ]
    for share in shares:
        batch = share.next_batch()
        assert (len(batch.keys), batch.first, batch.total) == (2, 2, 4)
        share.close()


def test_streams_are_mixed_by_weights(tmp_path: Path) -> None:
    folders = tuple(str(write_shards(tmp_path / name, [2, 1])) for name in "ab")
    config = CaptionsConfig(
        kind="shards", shards=folders, stream=True, weights=(1, 2), image_size=32
    )
    loader = build_loader(
        config, build_captions(config), tokenizer=tokens, batch_size=3, seed=0, world_size=1
    )
    keys = [key for _ in range(3) for key in loader.next_batch().keys]
    assert loader.epoch == 0
    assert Counter(keys) == {f"0000{k // 2}.tar/0000{k}": 3 for k in range(3)}
    loader.close()


def test_only_the_first_images_of_a_stream_are_kept(tmp_path: Path) -> None:
    write_shards(tmp_path, [70])
    config = CaptionsConfig(kind="shards", shards=str(tmp_path), stream=True, person="x")
    head = build_captions(config)
    assert (len(head), int(head[63].image[0, 0, 0])) == (70, 63)
    with pytest.raises(BrokenSampleError, match="not among the 64 images kept of a stream"):
        head[64]


def test_a_mix(tmp_path: Path) -> None:
    write_shards(tmp_path, [3])
    parts = (
        CaptionsConfig(kind="shards", shards=str(tmp_path), person="one"),
        CaptionsConfig(count=4),
    )
    config = CaptionsConfig(kind="mix", sources=parts, weights=(2, 1), image_size=40)
    source = build_captions(config)
    assert (len(source), source.name) == (10, "2 x 00000.tar + world/train")
    assert {source[k].image.shape for k in range(10)} == {(3, 40, 40)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"kind": "archive"},
            "root: expected a folder for kind 'archive', came none; set root to the folder",
        ),
        (
            {"kind": "archive", "root": "x", "table": "t.csv"},
            "table: expected none for kind 'archive'",
        ),
        ({"kind": "table"}, "table: expected a file for kind 'table', came none"),
        (
            {"kind": "table", "table": "t", "validation_split": "v"},
            "validation_split: expected none for kind 'table'",
        ),
        ({"root": "x"}, "root, table: expected none for kind 'world'"),
        ({"validation_split": "train"}, "validation_split: expected another split than split"),
        ({"image_size": 8}, "greater than or equal to 32"),
        ({"max_broken": 2}, "less than or equal to 1"),
        ({"kind": "zip"}, "'world', 'archive', 'table', 'shards' or 'mix'"),
        ({"kind": "shards"}, "shards: expected tars .* came none for 'shards'"),
        ({"shards": "a.tar"}, "shards: .* came a.tar for 'world'; set kind"),
        ({"kind": "shards", "shards": "a.tar", "validation_split": "v"}, "has no splits"),
        ({"stream": True}, "stream: expected false for kind 'world', came true"),
        ({"kind": "shards", "shards": "a.tar", "weights": [2]}, "came 1 for 0; name as many"),
        (
            {"kind": "shards", "shards": ["a", "b"], "stream": True, "weights": [2]},
            "came 1 for 2; name as many",
        ),
        ({"kind": "mix"}, "sources: expected some .* came 0 for 'mix'"),
        ({"kind": "mix", "sources": [{}], "weights": [1, 2]}, "came 2 for 1; name as many"),
        ({"kind": "mix", "sources": [{"kind": "mix", "sources": [{}]}]}, "or another mix"),
        ({"colour": 1}, "Extra inputs are not permitted"),
    ],
)
def test_bad_combinations(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CaptionsConfig.model_validate(fields)
