"""Zips with a captions file: what is delivered, what is listed as broken, what is refused."""

import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.sources import photo, write_archive

from vilseg_data import ArchiveCaptions, BrokenSampleError, CaptionSource


def test_images_of_every_zip_with_their_captions(tmp_path: Path) -> None:
    zips = [{"a.png": photo(1), "b.png": photo(2)}, {"sub/c.jpg": photo(3, kind="JPEG")}]
    captions = {"b.png": [" two ", ""], "a.png": "one", "sub/c.jpg": ["three", "drei"]}
    source = ArchiveCaptions(write_archive(tmp_path / "set", zips=zips, captions=captions))
    assert isinstance(source, CaptionSource)
    assert (source.name, source.broken, len(source)) == ("set/train", [], 3)
    assert [source[k].key for k in range(3)] == ["b.png", "a.png", "sub/c.jpg"]
    assert [source.captions(k) for k in range(3)] == [("two",), ("one",), ("three", "drei")]
    assert source[0].captions == ("two",)
    assert [int(source[k].image[0, 0, 0]) for k in range(3)] == [2, 1, 3]
    assert source[0].image.shape == (3, 10, 12)


def test_images_are_squashed_as_they_are_decoded(tmp_path: Path) -> None:
    root = write_archive(tmp_path, zips=[{"a.png": photo(9)}], captions={"a.png": ["x"]})
    assert ArchiveCaptions(root, image_size=6)[0].image.shape == (3, 6, 6)


def test_what_has_no_partner_is_listed(tmp_path: Path) -> None:
    zips = [{"a.png": photo(1), "bare.png": photo(2), "silent.png": photo(3), "notes.txt": b"x"}]
    captions = {"a.png": ["one"], "lost.png": ["two"], "silent.png": ["  "]}
    source = ArchiveCaptions(write_archive(tmp_path, zips=zips, captions=captions))
    assert len(source) == 1
    assert source.broken == [
        ("lost.png", "in no zip of train"),
        ("silent.png", "no caption in train.captions.json"),
        ("bare.png", "not in train.captions.json"),
    ]


def test_an_unreadable_member_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    zips = [{"a.png": photo(1), "bad.png": b"junk", "empty.png": b""}]
    captions = {"bad.png": ["x"], "empty.png": ["y"], "a.png": ["z"]}
    source = ArchiveCaptions(write_archive(tmp_path, zips=zips, captions=captions))
    with pytest.raises(BrokenSampleError, match=r"^bad\.png: not an image$"):
        source[0]
    with pytest.raises(BrokenSampleError, match=r"^empty\.png: empty file$"):
        source[1]
    assert int(source[2].image[0, 0, 0]) == 1


def test_a_damaged_member_fails_its_checksum(tmp_path: Path) -> None:
    data = photo(1)
    root = write_archive(tmp_path, zips=[{"a.png": data}], captions={"a.png": ["x"]})
    path = root / "train-00.zip"
    content = bytearray(path.read_bytes())
    content[content.index(data) + len(data) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(BrokenSampleError, match=r"a\.png: unreadable in train-00\.zip: Bad CRC"):
        ArchiveCaptions(root)[0]


def test_a_member_that_claims_too_much_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_archive(tmp_path, zips=[{"a.png": photo(1)}], captions={"a.png": ["x"]})
    monkeypatch.setattr("vilseg_data.captions.archive.MAX_BYTES", 20)
    with pytest.raises(BrokenSampleError, match=r"^a\.png: \d+ bytes, more than 20$"):
        ArchiveCaptions(root)[0]


def test_many_threads_read_the_right_images(tmp_path: Path) -> None:
    names = [f"{k}.png" for k in range(60)]
    zips = [{name: photo(int(name[:-4])) for name in names[half::2]} for half in (0, 1)]
    captions = {name: [name] for name in names}
    source = ArchiveCaptions(write_archive(tmp_path, zips=zips, captions=captions))
    with ThreadPoolExecutor(8) as pool:
        samples = list(pool.map(source.__getitem__, [*range(60)] * 5))
    assert [int(sample.image[0, 0, 0]) for sample in samples] == [*range(60)] * 5


def test_a_single_zip_named_for_the_split(tmp_path: Path) -> None:
    root = write_archive(tmp_path, zips=[{"a.png": photo(1)}], captions={"a.png": "x"})
    (root / "train-00.zip").rename(root / "train.zip")
    assert len(ArchiveCaptions(root)) == 1


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"root: expected a folder of zips .* which is no folder"):
        ArchiveCaptions(tmp_path / "absent")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"root: expected train\.captions\.json, .* came no "):
        ArchiveCaptions(tmp_path)


def test_an_unknown_split_lists_those_there_are(tmp_path: Path) -> None:
    write_archive(tmp_path, zips=[], captions={}, split="dev")
    with pytest.raises(ValueError, match=r"came \['dev\.captions\.json'\]"):
        ArchiveCaptions(tmp_path, split="val")


def test_no_zip(tmp_path: Path) -> None:
    write_archive(tmp_path, zips=[], captions={"a.png": ["x"]})
    with pytest.raises(ValueError, match=r"root: expected train\.zip or train-\*\.zip, came none"):
        ArchiveCaptions(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON, came Expecting"),
        ("[1]", "expected a JSON object .* came list of length 1"),
        ("{}", "with at least one image, came dict of length 0"),
        ("3", "came int of length 0; write it in this form"),
        ("[" * 100_000, "expected JSON, came maximum recursion depth"),
        ('{"a.png": ' + "1" * 5000 + "}", "expected JSON, came Exceeds the limit"),
    ],
)
def test_a_captions_file_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    write_archive(tmp_path, zips=[{"a.png": photo(1)}], captions={})
    (tmp_path / "train.captions.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        ArchiveCaptions(tmp_path)


def test_captions_of_other_images(tmp_path: Path) -> None:
    write_archive(tmp_path, zips=[{"photos/a.png": photo(1)}], captions={"b.png": ["x"]})
    message = r"none usable, for instance b\.png \(in no zip .*, such as photos/a\.png$"
    with pytest.raises(ValueError, match=message):
        ArchiveCaptions(tmp_path)


def test_a_byte_order_mark(tmp_path: Path) -> None:
    write_archive(tmp_path, zips=[{"a.png": photo(1)}], captions={})
    text = '\ufeff{"a.png":\r\n["one"]}\r\n'
    (tmp_path / "train.captions.json").write_text(text, encoding="utf-8", newline="")
    assert ArchiveCaptions(tmp_path).captions(0) == ("one",)


def test_what_macos_adds_to_a_zip_is_no_image(tmp_path: Path) -> None:
    zips = [{"a.png": photo(1), "__MACOSX/._a.png": b"attributes"}]
    write_archive(tmp_path, zips=zips, captions={"a.png": ["x"]})
    assert ArchiveCaptions(tmp_path).broken == []


def test_one_name_in_two_zips(tmp_path: Path) -> None:
    zips = [{"a.png": photo(1)}, {"a.png": photo(2)}]
    write_archive(tmp_path, zips=zips, captions={"a.png": ["x"]})
    with pytest.raises(ValueError, match=r"a\.png is in both train-00\.zip and train-01\.zip"):
        ArchiveCaptions(tmp_path)


@given(st.floats(0.0, 0.99))
@settings(max_examples=25)
def test_a_zip_cut_short_is_refused(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    root = tmp_path_factory.mktemp("cut")
    write_archive(root, zips=[{"a.png": photo(1)}], captions={"a.png": ["x"]})
    path = root / "train-00.zip"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(
        ValueError, match=r"train-00\.zip: expected a readable zip, .*fetch it again"
    ):
        ArchiveCaptions(root)


@pytest.mark.parametrize(
    "caption", ["\N{DOG FACE} runs", "nul \0 inside", "w" * 100_000, "caf\u00e9 \u4e2d\u6587"]
)
def test_unusual_captions_arrive(tmp_path: Path, caption: str) -> None:
    write_archive(tmp_path, zips=[{"a.png": photo(1)}], captions={"a.png": [caption]})
    assert ArchiveCaptions(tmp_path).captions(0) == (caption,)


def test_invalid_utf8_is_replaced(tmp_path: Path) -> None:
    write_archive(tmp_path, zips=[{"a.png": photo(1)}], captions={})
    (tmp_path / "train.captions.json").write_bytes(b'{"a.png": ["a \xff dog"]}')
    assert ArchiveCaptions(tmp_path).captions(0) == ("a \ufffd dog",)


@pytest.mark.parametrize(
    ("split", "count"), [("train", 5997), ("dev", 1000), ("test", 1000), ("rest", 94)]
)
def test_flickr8k(shared_data: Path, split: str, count: int) -> None:
    source = ArchiveCaptions(shared_data / "flickr8k_128", split=split)
    assert (len(source), source.broken) == (count, [])
    assert {len(source.captions(k)) for k in range(count)} == {5}
    for index in (0, count // 2, count - 1):
        assert source[index].image.shape == (3, 128, 128)


def test_flickr8k_pairs_are_those_of_the_files(shared_data: Path) -> None:
    root = shared_data / "flickr8k_128"
    spoken = json.loads((root / "dev.captions.json").read_text())
    source = ArchiveCaptions(root, split="dev")
    with zipfile.ZipFile(root / "dev-00.zip") as archive:
        names = set(archive.namelist())
    for index in range(0, 1000, 97):
        sample = source[index]
        assert sample.key in names
        assert list(sample.captions) == [caption.strip() for caption in spoken[sample.key]]
