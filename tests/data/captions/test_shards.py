"""Listed shards: layouts, hostile members, and what is said of what is not there."""

import json
import sys
from pathlib import Path

import pytest
import torch
from tests.data.captions.shard_files import Members, pack, samples, write_shards
from tests.data.sources import photo

from vilseg_data import BrokenSampleError, CaptionSource, ShardCaptions
from vilseg_data.captions.locations import find_shards

IMAGE = photo(9)


def source_of(folder: Path, members: Members) -> ShardCaptions:
    path = folder / "s.tar"
    path.write_bytes(pack([*members, *samples([7])]))
    return ShardCaptions(path)


def test_samples_of_all_shards_in_order(tmp_path: Path) -> None:
    source = ShardCaptions(write_shards(tmp_path, [3, 0, 2], captions=2), image_size=32)
    assert isinstance(source, CaptionSource)
    assert (len(source), source.broken, source.name) == (5, [], "00000.tar and 2 more")
    for index in range(5):
        sample = source[index]
        assert sample.captions == source.captions(index) == (f"{index} 0", f"{index} 1")
        assert torch.equal(sample.image, torch.full((3, 32, 32), index, dtype=torch.uint8))
    assert [source[0].key, source[3].key] == ["00000.tar/00000", "00002.tar/00003"]


def test_the_real_cc12m_shard(shared_data: Path) -> None:
    source = ShardCaptions(f"{shared_data}/cc12m/cc12m-train-{{0000..0000}}.tar", image_size=64)
    assert (len(source), source.broken) == (32, [])
    assert len({source[index].key for index in range(32)}) == 32
    assert source.captions(0) == ("Red Square is a city square in Moscow, Russia.",)
    assert any("<PERSON>" in source.captions(index)[0] for index in range(32))


@pytest.mark.parametrize(
    ("members", "captions"),
    [
        ([("a.txt", b" one \n")], ("one",)),
        ([("a.json", b'{"caption": "two"}')], ("two",)),
        ([("a.json", b'{"caption": ["two", " ", 3, "three"]}')], ("two", "three")),
        ([("a.txt", b"one"), ("a.json", b'{"caption": "two"}')], ("one",)),
        ([("a.txt", b"one"), ("a.json", b'{"captions": ["x", "y"]}')], ("x", "y")),
        ([("a.txt", b"one"), ("a.json", b"{nonsense")], ("one",)),
        ([("a.txt", b"one"), ("a.json", b"[" * 100_000)], ("one",)),
        ([("a.txt", b"\xef\xbb\xbfone"), ("a.cls", b"1")], ("one",)),
        ([("a.txt", "a 🦩 in caf\u00e9".encode())], ("a 🦩 in caf\u00e9",)),
        ([("a.txt", b"bad \xff\xfe bytes")], ("bad \ufffd\ufffd bytes",)),
        ([("a.txt", b"nul\x00l\x07")], ("null",)),
        ([("a.json", b'{"caption": "half \\ud83e pair\\u0000"}')], ("half ? pair",)),
        ([("a.txt", b"x" * 100_000)], ("x" * 100_000,)),
        ([("a.TXT", b"one")], ("one",)),
    ],
)
def test_where_captions_come_from(
    tmp_path: Path, members: Members, captions: tuple[str, ...]
) -> None:
    source = source_of(tmp_path, [("a.png", IMAGE), *members])
    assert (len(source), source.broken) == (2, [])
    assert source.captions(0) == captions
    captions[0].encode("utf-8")


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("a.png", IMAGE)], "no caption in .txt, nor 'caption' in .json"),
        ([("a.png", IMAGE), ("a.txt", b" \0 ")], "no caption in .txt"),
        ([("a.png", IMAGE), ("a.json", b"[1]")], "no caption in .txt"),
        ([("a.txt", b"one"), ("a.json", b"{}")], r"no image among its members ['json', 'txt']"),
        ([("a.png", b""), ("a.txt", b"one")], "empty file"),
        ([("a.png", IMAGE), ("a.txt", b"x" * (5 << 20))], ".txt of 5242880 bytes, more than"),
    ],
)
def test_unusable_samples_are_named(tmp_path: Path, members: Members, reason: str) -> None:
    source = source_of(tmp_path, members)
    assert len(source) == 1
    (broken,) = source.broken
    assert broken.key == "s.tar/a"
    assert broken.reason.startswith(reason)


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    names = ["../../up", "/etc/passwd", "a\nb", "\x1b[31mred", "x" * 5000, "🦩", "CON", "a b"]
    members = [
        (f"{name}.{kind}", data) for name in names for kind, data in (("png", IMAGE), ("txt", b"t"))
    ]
    before = sorted(tmp_path.parent.iterdir())
    source = source_of(tmp_path, members)
    assert [source[k].key for k in range(8)] == [f"s.tar/{name}" for name in names]
    assert source.broken == []
    assert sorted(tmp_path.parent.iterdir()) == before
    json.dumps([source[k].key for k in range(8)]).encode()


def test_members_of_no_sample_are_passed_over(tmp_path: Path) -> None:
    source = source_of(tmp_path, [("README", b"x"), (".hidden", b"x"), ("d/._00007.png", b"x")])
    assert (len(source), source.broken) == (1, [])


def test_a_name_that_comes_twice_is_two_samples(tmp_path: Path) -> None:
    sample = [("a.png", IMAGE), ("a.txt", b"one")]
    assert len(source_of(tmp_path, [*sample, *sample])) == 3


def test_images_that_do_not_decode_are_found_when_read(tmp_path: Path) -> None:
    source = source_of(tmp_path, [("a.png", IMAGE[:40]), ("a.txt", b"one")])
    with pytest.raises(BrokenSampleError, match=r"s\.tar/a: "):
        source[0]
    assert source[1].image.shape == (3, 2, 3)


def test_an_image_of_one_pixel(tmp_path: Path) -> None:
    source = source_of(tmp_path, [("a.png", photo(3, size=(1, 1))), ("a.txt", b"dot")])
    assert source[0].image.shape == (3, 1, 1)


def test_a_shard_that_shrinks_after_listing(tmp_path: Path) -> None:
    source = source_of(tmp_path, [])
    (tmp_path / "s.tar").write_bytes(b"")
    with pytest.raises(BrokenSampleError, match="shorter since it was listed"):
        source[0]
    (tmp_path / "s.tar").unlink()
    with pytest.raises(BrokenSampleError, match="not readable"):
        source[0]


def test_patterns(tmp_path: Path) -> None:
    write_shards(tmp_path, [1] * 11)
    paths = [str(tmp_path / f"{k:05d}.tar") for k in range(11)]
    assert find_shards(tmp_path) == find_shards(tmp_path / "*.tar") == paths
    assert find_shards(f"{tmp_path}/{{00000..00010}}.tar") == paths
    assert find_shards([paths[3], f"{tmp_path}/0000[12].tar"]) == [paths[3], *paths[1:3]]
    assert find_shards(f"{paths[0]}::{paths[2]}") == [paths[0], paths[2]]
    urls = ["http://host/a-0.tar?x=*", "http://host/a-1.tar?x=*"]
    assert find_shards("http://host/a-{0..1}.tar?x=*") == urls
    assert find_shards("pipe:cat a.tar | cat") == ["pipe:cat a.tar | cat"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{}/x-*.tar", r"match .*x-\*\.tar, came none \(.* holds 2 \.tar, 00000\.tar to 00001"),
        ("{}/none/*.tar", r"came none \(.*none is no folder\); correct the pattern"),
        ("{}/{{00001..00003}}.tar", r"came 2 of 3 that do not exist, first .*00002\.tar \("),
        ("{}/a.tar", r"came 1 of 1 that do not exist, first .*/a\.tar"),
        ("{0}::{0}", r"shards: expected every shard once, came .*00000\.tar 2 times"),
        ([], "shards: expected at least one shard, came none"),
        ("{}/" + "x" * 300, "came 1 of 1 that do not exist"),
        (
            "{}/{{0",
            r"expected a pattern such as \{00000\.\.00009\}\.tar, came .*; correct the braces",
        ),
        ("", r"came 1 of 1 that do not exist, first  \("),
    ],
)
def test_what_is_not_there(tmp_path: Path, pattern: str | list[str], message: str) -> None:
    write_shards(tmp_path, [1, 1])
    chosen = pattern.format(tmp_path) if isinstance(pattern, str) else pattern
    with pytest.raises(ValueError, match=message):
        find_shards(chosen)


def test_without_webdataset_plain_files_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path, [2])
    monkeypatch.setitem(sys.modules, "webdataset.shardlists", None)
    assert len(ShardCaptions(tmp_path)) == 2
    with pytest.raises(ValueError, match=r"expected the webdataset library .* pip install webdat"):
        find_shards(f"{tmp_path}/{{00000..00000}}.tar")


def test_remote_shards_are_not_listed() -> None:
    with pytest.raises(ValueError, match="expected local files, which can be listed, came http"):
        ShardCaptions("http://host/a.tar")


def test_shards_without_a_usable_sample(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(pack([("a.png", IMAGE)]))
    with pytest.raises(ValueError, match=r"came none, first a\.tar/a: no caption"):
        ShardCaptions(tmp_path)
