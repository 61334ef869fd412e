import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.data.sources import bomb
from tests.data.survey.files import picture, write_folder, write_tar

from vilseg_data import WorldLabelled
from vilseg_data.survey import (
    CheckReport,
    Journal,
    check,
    hash_folder,
    hash_labelled,
    records_of_path,
)
from vilseg_data.survey.look import Seen, look
from vilseg_data.survey.records import FolderRecords, TableRecords


def _add(folder: Path, data: bytes, *, caption: str = "something else") -> None:
    (folder / "x.png").write_bytes(data)
    (folder / "x.txt").write_text(caption)


def _tiny() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")
    return file.getvalue()


def _near() -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(picture(1))).resize((90, 90)).save(file, "JPEG", quality=60)
    return file.getvalue()


def _no_caption(folder: Path) -> None:
    (folder / "1.txt").write_text(" \n")


def _twice(folder: Path) -> None:
    (folder / "x.png").write_bytes(picture(9))
    (folder / "x.json").write_text('{"captions": ["a dog", "A dog"]}')


FAULTS: dict[str, tuple[str, Callable[[Path], None], str, str]] = {
    "0 bytes": ("empty-image", lambda f: _add(f, b""), "x.png", "0 bytes"),
    "no image": ("bad-image", lambda f: _add(f, b"no image"), "x.png", "not an image"),
    "cut": ("bad-image", lambda f: _add(f, picture(9, kind="JPEG")[:-200]), "x.png", "truncated"),
    "1 pixel": ("tiny-image", lambda f: _add(f, _tiny()), "x.png", "1 x 1 pixels"),
    "bomb": ("huge-image", lambda f: _add(f, bomb()), "x.png", "900000000 pixels"),
    "no caption": ("missing-caption", _no_caption, "1.png", "none in its .txt"),
    "words": (
        "long-caption",
        lambda f: _add(f, picture(9), caption="dog " * 76),
        "x.png",
        "76 words, more than 75",
    ),
    "characters": (
        "long-caption",
        lambda f: _add(f, picture(9), caption="d" * 100_000),
        "x.png",
        "100000 characters, more than 1000",
    ),
    "same file": (
        "duplicate-image",
        lambda f: _add(f, picture(1)),
        "x.png",
        "the same file as 1.png",
    ),
    "near": ("near-duplicate-image", lambda f: _add(f, _near()), "x.png", "bits from 1.png"),
    "caption": (
        "duplicate-caption",
        lambda f: _add(f, picture(9), caption=" Blobs  of number 1"),
        "x.png",
        "the same as one of 1.png",
    ),
    "own caption": (
        "duplicate-caption",
        _twice,
        "x.png",
        "the same as another caption of its own",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_once(fault: str, tmp_path: Path) -> None:
    kind, plant, key, reason = FAULTS[fault]
    folder = write_folder(tmp_path / "data")
    plant(folder)
    report = check(FolderRecords(folder))
    assert report.counts == {kind: 1}
    [finding] = report.findings
    assert (finding.kind, finding.key) == (kind, key)
    assert reason in finding.reason
    assert not report.clean
    assert check(FolderRecords(folder), ignore=[kind]).clean


def test_faults_of_tars_and_tables_are_found_once(tmp_path: Path) -> None:
    members = {"0.png": picture(0), "0.txt": b"zero", "1.png": picture(1), "1.txt": b"one"}
    tar = write_tar(tmp_path / "a.tar", members)
    tar.write_bytes(tar.read_bytes().rstrip(b"\0"))
    report = check(records_of_path(tar))
    assert (report.samples, report.counts) == (2, {"archive": 1})
    write_folder(tmp_path / "images")
    table = tmp_path / "t.jsonl"
    rows = [{"image": "0.png", "caption": "x"}, {"image": "9.png", "caption": "y"}]
    table.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + "{\n")
    report = check(TableRecords(table, images=tmp_path / "images"))
    assert report.counts == {"missing-image": 1, "row": 1}


def test_a_clean_source_is_clean(tmp_path: Path) -> None:
    report = check(FolderRecords(write_folder(tmp_path, 12)))
    assert report.clean
    assert (report.samples, report.captions) == (12, 12)
    assert report.to_json()["broken"] == []


def test_blank_images_are_no_copies_of_one_another(tmp_path: Path) -> None:
    for value in (10, 90, 200):
        Image.new("L", (30, 30), value).save(tmp_path / f"{value}.png")
        (tmp_path / f"{value}.txt").write_text(f"grey {value}")
    assert check(FolderRecords(tmp_path)).clean


def test_images_of_an_evaluation_set_are_found(tmp_path: Path) -> None:
    folder, held_out = write_folder(tmp_path / "data", 6), tmp_path / "val"
    held_out.mkdir()
    (held_out / "a.jpg").write_bytes(_near())
    (held_out / "b.png").write_bytes(picture(77))
    (held_out / "c.png").write_bytes(b"broken")
    report = check(FolderRecords(folder), against=hash_folder(held_out))
    assert report.counts == {"leak": 1}
    assert report.findings[0].key == "1.png"
    assert "of 64 bits from a.jpg of" in report.findings[0].reason
    assert report.against_images == 2


def test_images_of_a_labelled_set_are_found(tmp_path: Path) -> None:
    scenes = WorldLabelled(count=10)
    for number in (3, 7):
        image = scenes[number].image.permute(1, 2, 0).numpy()
        Image.fromarray(image).save(tmp_path / f"{number}.jpg", quality=70)
        (tmp_path / f"{number}.txt").write_text(f"scene {number}")
    report = check(FolderRecords(tmp_path), against=hash_labelled(scenes))
    assert [(f.kind, f.key) for f in report.findings] == [("leak", "3.jpg"), ("leak", "7.jpg")]
    assert "from val-000003 of world" in report.findings[0].reason


def test_all_are_counted_and_some_listed(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.jpg").write_bytes(b"x")
        (tmp_path / f"{number}.txt").write_text("x")
    report = check(FolderRecords(tmp_path), most_listed=4)
    assert report.counts == {"bad-image": 9}
    assert [f.key for f in report.findings] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


@pytest.mark.parametrize("threads", [1, 5])
def test_the_report_does_not_depend_on_threads(threads: int, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, 40)
    for number in (3, 11, 30):
        (folder / f"{number}.png").write_bytes(picture(5)[: 400 if number == 11 else None])
    calls: list[tuple[int, int]] = []
    report = check(
        FolderRecords(folder),
        threads=threads,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert [(f.kind, f.key) for f in report.findings] == [
        ("bad-image", "11.png"),
        ("duplicate-image", "30.png"),
        ("duplicate-image", "5.png"),
    ]
    assert calls[-1] == (39, 39)


class _Stopped(Exception):
    pass


def _journalled(folder: Path, path: Path, *, stop_at: int | None = None) -> CheckReport:
    def progress(done: int, total: int) -> None:
        del total
        if done == stop_at:
            raise _Stopped

    with (
        path.open("r+b" if path.exists() else "w+b") as file,
        Journal(file, source="data", settings={}) as journal,
    ):
        return check(FolderRecords(folder), journal=journal, progress=progress)


def test_an_interrupted_check_goes_on_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, journal = write_folder(tmp_path / "data", 100), tmp_path / "journal.jsonl"
    (folder / "7.png").write_bytes(b"broken")
    (folder / "90.png").write_bytes(picture(2))
    whole = check(FolderRecords(folder))
    with pytest.raises(_Stopped):
        _journalled(folder, journal, stop_at=64)
    # A kill in the middle of a line.
    journal.write_bytes(journal.read_bytes()[:-5])
    seen = len(journal.read_text().splitlines()) - 2
    assert seen >= 60

    looked: list[str] = []

    def counted(data: bytes, *, key: str) -> Seen:
        looked.append(key)
        return look(data, key=key)

    monkeypatch.setattr("vilseg_data.survey.checking.look", counted)
    assert _journalled(folder, journal) == whole
    assert len(looked) <= 100 - seen
    assert _journalled(folder, journal) == whole


def test_a_journal_of_another_source_is_refused(tmp_path: Path) -> None:
    folder, path = write_folder(tmp_path / "data"), tmp_path / "journal"
    _journalled(folder, path)
    with (
        path.open("r+b") as file,
        pytest.raises(ValueError, match=r"journal: expected that of .*other"),
    ):
        Journal(file, source="other", settings={})
    (folder / "0.png").rename(folder / "00.png")
    (folder / "0.txt").rename(folder / "00.txt")
    with pytest.raises(ValueError, match=r"journal: expected 00.png next, came 0.png"):
        _journalled(folder, path)
    path.write_text("not json\n")
    with path.open("r+b") as file, pytest.raises(ValueError, match="journal: expected JSON lines"):
        Journal(file, source="data", settings={})


def test_a_thousand_real_photos_hold_no_copy(shared_data: Path) -> None:
    records = records_of_path(shared_data / "flickr8k_128" / "test-00.zip")
    report = check(records, ignore=["duplicate-caption"])
    assert (report.samples, report.captions) == (1000, 5000)
    assert report.clean


def test_photos_at_another_size_and_shape_are_found(shared_data: Path) -> None:
    # 16 of the test photos, here squashed to squares, lie among the fixtures at their own size.
    wanted = sorted(p.name for p in (shared_data / "fixtures" / "flickr8k").glob("*.jpg"))
    assert len(wanted) == 16
    records = records_of_path(shared_data / "flickr8k_128" / "test-00.zip")
    report = check(
        records, against=hash_folder(shared_data / "fixtures"), ignore=["duplicate-caption"]
    )
    assert sorted(f.key for f in report.findings) == wanted
    assert report.counts == {"leak": 16}
