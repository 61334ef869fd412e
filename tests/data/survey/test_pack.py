import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.data.survey.files import picture, read_all, write_folder

from vilseg_data.survey import Finding, Record, pack, records_of_path
from vilseg_data.survey.records import FolderRecords, Records


class _Listed:
    """Records of a list; asking for the one at `stop` raises."""

    name = "listed"

    def __init__(self, items: list[Record | Finding], *, stop: int | None = None) -> None:
        self._items, self._stop = items, stop

    def total(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Record | Finding]:
        for number, item in enumerate(self._items):
            if number == self._stop:
                raise KeyboardInterrupt
            yield item


def _items(count: int, *, broken: frozenset[int] = frozenset()) -> list[Record | Finding]:
    items: list[Record | Finding] = [Finding("row", "table line 3", "no image")]
    for k in range(count):
        data = b"broken" if k in broken else picture(k, side=8)
        texts = tuple(f"{j} of {k} \u00e9" for j in range(1 + k % 3))
        items.append(Record(f"some/../name {k}.png", texts, partial(bytes, data)))
    return items


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _members(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                assert member.name not in found
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    count=st.integers(1, 12),
    shard_size=st.integers(1, 13),
    broken=st.frozensets(st.integers(0, 11)),
)
def test_every_sample_is_in_the_tars_once_with_its_bytes(
    count: int, shard_size: int, broken: frozenset[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("pack")
    report = pack(_Listed(_items(count, broken=broken)), out, shard_size=shard_size)
    members = _members(out)
    good = [k for k in range(count) if k not in broken]
    keys = [f"{k // shard_size:05d}{k % shard_size:04d}" for k in good]
    assert list(members) == [f"{key}.{end}" for key in keys for end in ("png", "txt", "json")]
    for k, key in zip(good, keys, strict=True):
        assert members[f"{key}.png"] == picture(k, side=8)
        about = json.loads(members[f"{key}.json"])
        assert about["captions"] == [f"{j} of {k} \u00e9" for j in range(1 + k % 3)]
        assert members[f"{key}.txt"].decode() == about["caption"] == about["captions"][0]
        assert (about["key"], about["name"]) == (key, f"some/../name {k}.png")
        assert (about["width"], about["height"]) == (8, 8)
        assert about["sha256"] == hashlib.sha256(members[f"{key}.png"]).hexdigest()
    assert (report.samples, report.shards) == (len(good), -(-count // shard_size))
    left_out = [k for k in range(count) if k in broken]
    assert [f.key for f in report.broken] == [
        "table line 3",
        *(f"some/../name {k}.png" for k in left_out),
    ]


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data(), count=st.integers(1, 12), shard_size=st.integers(1, 5))
def test_a_packing_stopped_anywhere_ends_in_the_same_bytes(
    data: st.DataObject,
    count: int,
    shard_size: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("pack")
    items = _items(count, broken=frozenset([1]))
    whole = pack(_Listed(items), root / "whole", shard_size=shard_size)
    stops = data.draw(st.lists(st.integers(0, count), min_size=1, max_size=3))
    for turn, stop in enumerate(stops):
        with pytest.raises(KeyboardInterrupt):
            pack(_Listed(items, stop=stop), root / "b", shard_size=shard_size, resume=turn > 0)
        assert not list((root / "b").glob(".*"))
    again = pack(_Listed(items), root / "b", shard_size=shard_size, resume=True)
    assert again == whole
    assert _files(root / "b") == _files(root / "whole")


def test_a_missing_shard_in_the_middle_is_written_again(tmp_path: Path) -> None:
    records = FolderRecords(write_folder(tmp_path / "data", 7))
    pack(records, tmp_path / "out", shard_size=2)
    before = _files(tmp_path / "out")
    (tmp_path / "out" / "00001.tar").unlink()
    stamp = (tmp_path / "out" / "00002.tar").stat().st_mtime_ns
    pack(records, tmp_path / "out", shard_size=2, resume=True)
    assert _files(tmp_path / "out") == before
    assert (tmp_path / "out" / "00002.tar").stat().st_mtime_ns == stamp


def test_what_was_packed_is_read_back(tmp_path: Path) -> None:
    folder = FolderRecords(write_folder(tmp_path / "data", 5))
    pack(folder, tmp_path / "out", shard_size=2)
    sound, findings = read_all(folder)
    packed, faults = read_all(records_of_path(tmp_path / "out"))
    assert (findings, faults) == ([], [])
    assert list(packed.values()) == list(sound.values())
    # And packed again, it is the same but for the names of the source.
    pack(records_of_path(tmp_path / "out"), tmp_path / "again", shard_size=2)
    assert {k: v for k, v in _members(tmp_path / "again").items() if not k.endswith("json")} == {
        k: v for k, v in _members(tmp_path / "out").items() if not k.endswith("json")
    }


_SLOW = """
import sys, time
from vilseg_data.survey import pack
from vilseg_data.survey.records import FolderRecords
pack(FolderRecords(sys.argv[1]), sys.argv[2], shard_size=2,
     progress=lambda done, total: time.sleep(60))
"""


@pytest.mark.slow
def test_a_killed_packing_goes_on(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", 40)
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", _SLOW, str(folder), str(out)])
    # Progress is said every 32 samples, where it sleeps: shard 15 is open then.
    while process.poll() is None and not (out / "00014.tar").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "00019.tar").exists()
    pack(FolderRecords(folder), tmp_path / "whole", shard_size=2)
    pack(FolderRecords(folder), out, shard_size=2, resume=True)
    assert _files(out) == _files(tmp_path / "whole")


def test_only_larger_images_are_scaled(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, size in (("large", (120, 60)), ("small", (90, 30))):
        Image.new("RGB", size, "teal").save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(name)
    pack(FolderRecords(folder), tmp_path / "out", size=40)
    members = _members(tmp_path / "out")
    assert next(iter(members)) == "000000000.jpg"
    assert Image.open(io.BytesIO(members["000000000.jpg"])).size == (80, 40)
    about = json.loads(members["000000000.json"])
    assert (about["width"], about["height"]) == (80, 40)
    assert (about["original_width"], about["original_height"]) == (120, 60)
    assert members["000000001.png"] == (folder / "small.png").read_bytes()


def _refused(records: Records, out: Path, message: str, **options: int | bool) -> None:
    before = _files(out) if out.is_dir() else None
    with pytest.raises(ValueError, match=message):
        pack(records, out, **options)  # type: ignore[arg-type]
    assert (_files(out) if out.is_dir() else None) == before


def test_what_cannot_be_packed_is_refused(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", 4)
    records, out = FolderRecords(data), tmp_path / "out"
    _refused(records, out, "shard_size: expected at least 1, came 0", shard_size=0)
    _refused(records, out, "size: expected at least 1, came 0", size=0)
    _refused(
        records,
        out,
        "resume: expected a folder with pack.json, came .* without; leave",
        resume=True,
    )
    _refused(records, data, "out: expected an empty or new folder")
    pack(records, out, shard_size=2)
    _refused(records, out, "out: expected an empty or new folder")
    _refused(records, out, "shard_size: expected 2, with which", shard_size=3, resume=True)
    _refused(records, out, "size: expected None, with which", shard_size=2, size=9, resume=True)
    (data / "00.png").write_bytes(picture(9))
    (data / "00.txt").write_text("new")
    changed = "expected the samples that the source has there in .*00000.tar, came others"
    _refused(FolderRecords(data), out, changed, shard_size=2, resume=True)
    for name in ("00", "2", "3"):
        (data / f"{name}.png").unlink()
    shrunk = "out: expected 1 shards in .*, came 00001.tar as well; the source has shrunk"
    _refused(FolderRecords(data), out, shrunk, shard_size=2, resume=True)


def test_an_empty_source_leaves_no_shard(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="records: expected at least one sample, came none in listed"
    ):
        pack(_Listed([]), tmp_path / "out")
    assert list(_files(tmp_path / "out")) == ["pack.json"]


def test_a_full_disk_names_the_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        pack(_Listed(_items(1)), tmp_path / "out")
    assert str(caught.value.filename).startswith(str(tmp_path / "out"))
    assert not list((tmp_path / "out").glob("*.tar"))


def test_the_flickr8k_photos_of_a_zip(shared_data: Path, tmp_path: Path) -> None:
    records = records_of_path(shared_data / "flickr8k_128" / "rest-00.zip")
    report = pack(records, tmp_path, shard_size=40)
    assert (report.samples, report.shards, report.broken) == (94, 3, [])
    packed, _ = read_all(records_of_path(tmp_path))
    sound, _ = read_all(records)
    assert list(packed.values()) == list(sound.values())
    assert all(len(captions) == 5 for _, captions in packed.values())
