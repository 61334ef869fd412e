import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.sources import ListSource, write_archive
from tests.data.survey.files import picture, read_all, write_folder, write_tar

from vilseg_data import CaptionsConfig, decode_image
from vilseg_data.survey import Record, records_of_config, records_of_path, splits_of
from vilseg_data.survey.archives import TarRecords, ZipRecords
from vilseg_data.survey.records import SourceRecords

SAMPLES = {f"{k:03d}": (picture(k, side=12), f"caption {k}") for k in range(5)}


def _members() -> dict[str, bytes]:
    members = {}
    for key, (data, caption) in SAMPLES.items():
        members[f"{key}.png"] = data
        members[f"{key}.txt"] = caption.encode()
        members[f"{key}.json"] = json.dumps({"caption": "another", "key": key}).encode()
    return members


def _whole(name: str) -> dict[str, tuple[bytes, tuple[str, ...]]]:
    return {f"{name}/{key}": (data, (text,)) for key, (data, text) in SAMPLES.items()}


def test_a_tar_gives_every_sample_with_its_bytes(tmp_path: Path) -> None:
    records = records_of_path(write_tar(tmp_path / "a.tar", _members()))
    for _ in range(2):
        assert read_all(records) == (_whole("a.tar"), [])
    assert records.total() == len(SAMPLES)


def test_patterns_and_folders_of_tars_are_read_in_order(tmp_path: Path) -> None:
    for number in (8, 9, 10):
        write_tar(tmp_path / f"{number:02d}.tar", _members())
    wanted = {**_whole("08.tar"), **_whole("09.tar"), **_whole("10.tar")}
    for source in (tmp_path, f"{tmp_path}/{{08..10}}.tar", f"{tmp_path}/*.tar"):
        sound, findings = read_all(records_of_path(source))
        assert (list(sound), findings) == (list(wanted), [])
        assert sound == wanted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(data=st.data())
def test_a_tar_cut_anywhere_gives_what_is_before_the_cut(
    data: st.DataObject, tmp_path: Path
) -> None:
    whole = write_tar(tmp_path / "whole.tar", _members()).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        ends = [m.offset_data + -(-m.size // 512) * 512 for m in tar.getmembers()]
        end = tar.offset
    cut = data.draw(st.integers(0, end + 511))
    (tmp_path / "cut.tar").write_bytes(whole[:cut])
    sound, findings = read_all(TarRecords([tmp_path / "cut.tar"]))
    assert any(f.kind == "archive" and f.key == "cut.tar" for f in findings)
    wanted = _whole("cut.tar")
    assert all(sound[key][0] == wanted[key][0] for key in sound)
    complete = [key for k, key in enumerate(wanted) if ends[3 * k + 2] <= cut]
    assert set(complete) <= set(sound)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(place=st.integers(0, 20_000), value=st.integers(0, 255))
def test_a_damaged_tar_never_raises_but_names_itself_or_gives_samples(
    place: int, value: int, tmp_path: Path
) -> None:
    data = bytearray(write_tar(tmp_path / "a.tar", _members()).read_bytes())
    data[place % len(data)] = value
    (tmp_path / "a.tar").write_bytes(data)
    sound, findings = read_all(TarRecords([tmp_path / "a.tar"]))
    assert len(sound) == len(SAMPLES) or findings


def test_hostile_members_of_a_tar_harm_nothing(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "a.tar",
        {
            "../../escape.png": picture(0),
            "../../escape.txt": b"out",
            "/etc/x.png": picture(1),
            "/etc/x.txt": "caf\u00e9 \U0001f600".encode() + b"\xff\x00",
        },
    )
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    sound, findings = read_all(records_of_path(path))
    assert list(sound) == ["a.tar/../../escape", "a.tar//etc/x"]
    assert sound["a.tar//etc/x"][1] == ("caf\u00e9 \U0001f600\ufffd",)
    assert findings == []
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def test_not_a_tar(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"something else " * 100)
    (tmp_path / "b.tar").write_bytes(b"")
    write_tar(tmp_path / "c.tar", _members())
    sound, findings = read_all(records_of_path(tmp_path))
    assert list(sound) == list(_whole("c.tar"))
    assert {(f.kind, f.key) for f in findings} == {("archive", "a.tar"), ("archive", "b.tar")}


def test_a_tar_sample_without_image_or_caption(tmp_path: Path) -> None:
    members = {"0.txt": b"alone", "1.png": picture(1), "2.png": picture(2), "2.txt": b"  "}
    sound, findings = read_all(records_of_path(write_tar(tmp_path / "a.tar", members)))
    assert not sound
    assert [(f.kind, f.key) for f in findings] == [
        ("missing-image", "a.tar/0"),
        ("missing-caption", "a.tar/1"),
        ("missing-caption", "a.tar/2"),
    ]


def test_several_captions_come_from_the_json(tmp_path: Path) -> None:
    about = json.dumps({"caption": "one", "captions": ["one", "two", " "]}).encode()
    members = {"0.png": picture(0), "0.txt": b"one", "0.json": about, "1.png": picture(1)}
    members["1.json"] = b'{"caption": "of the json"}'
    sound, _ = read_all(records_of_path(write_tar(tmp_path / "a.tar", members)))
    assert [captions for _, captions in sound.values()] == [("one", "two"), ("of the json",)]


def test_shards_of_a_configuration_or_a_command_are_read(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", _members())
    config = CaptionsConfig(kind="shards", shards=str(path))
    assert read_all(records_of_config(config)) == (_whole("a.tar"), [])
    assert read_all(records_of_path(f"pipe:cat {path}")) == (_whole("a.tar"), [])


def test_a_zip_with_its_captions_inside_or_beside(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for name, data in _members().items():
            archive.writestr(name, data)
        archive.writestr("__MACOSX/000.png", b"x")
    inside, findings = read_all(records_of_path(tmp_path / "in.zip"))
    assert not findings
    assert inside == {f"{key}.png": (data, (text,)) for key, (data, text) in SAMPLES.items()}
    write_archive(
        tmp_path,
        zips=[{"a.png": picture(0)}, {"b.png": picture(1)}],
        captions={"a.png": ["x", "y"], "b.png": "z", "c.png": "gone"},
    )
    # One zip of two does not speak for the captions of the other.
    part, findings = read_all(records_of_path(tmp_path / "train-00.zip"))
    assert (part, findings) == ({"a.png": (picture(0), ("x", "y"))}, [])
    whole = records_of_config(CaptionsConfig(kind="archive", root=tmp_path))
    sound, [missing] = read_all(whole)
    assert list(sound) == ["a.png", "b.png"]
    assert (missing.kind, missing.key) == ("missing-image", "c.png")
    assert splits_of(tmp_path) == ["train"]


def test_a_damaged_zip_is_named_and_the_others_read(tmp_path: Path) -> None:
    write_archive(
        tmp_path,
        zips=[{"a.png": picture(0)}, {"b.png": picture(1)}],
        captions={"a.png": "x", "b.png": "z"},
    )
    cut = tmp_path / "train-00.zip"
    cut.write_bytes(cut.read_bytes()[:-30])
    sound, findings = read_all(records_of_config(CaptionsConfig(kind="archive", root=tmp_path)))
    assert list(sound) == ["b.png"]
    assert [f.kind for f in findings] == ["archive", "missing-image"]


def test_a_damaged_member_of_a_zip_raises_when_it_is_read(tmp_path: Path) -> None:
    data = picture(0)
    write_archive(tmp_path, zips=[{"a.png": data}], captions={"a.png": "x"})
    path = tmp_path / "train-00.zip"
    path.write_bytes(path.read_bytes().replace(data[20:60], bytes(40)))
    records = iter(ZipRecords([path], captions={"a.png": "x"}))
    record = next(records)
    assert isinstance(record, Record)
    with pytest.raises(ValueError, match=r"a.png: unreadable member: Bad CRC"):
        record.read()


def test_a_table_as_training_reads_it(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images", 2)
    rows = ["photo,words", "0.png,one", "0.png,two", "1.png,", "9.png,gone", ",nobody", "a,b,c"]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    config = CaptionsConfig(
        kind="table",
        table=tmp_path / "t.csv",
        root=folder,
        image_column="photo",
        caption_column="words",
    )
    sound, findings = read_all(records_of_config(config))
    assert sound == {"0.png": (picture(0), ("one", "two"))}
    assert sorted((f.kind, f.key) for f in findings) == [
        ("missing-caption", "1.png"),
        ("missing-image", "9.png"),
        ("row", "t.csv line 6"),
        ("row", "t.csv line 7"),
    ]


def test_a_folder_gives_its_images_by_path(tmp_path: Path) -> None:
    write_folder(tmp_path / "b", 1)
    write_folder(tmp_path / "a", 2)
    sound, _ = read_all(records_of_path(tmp_path))
    assert list(sound) == ["a/0.png", "a/1.png", "b/0.png"]


def test_any_other_source_gives_its_images_as_png() -> None:
    source = ListSource(3, missing=1)
    sound, [finding] = read_all(SourceRecords(source))
    assert list(sound) == ["list/000000", "list/000001", "list/000002"]
    for index, (data, captions) in enumerate(sound.values()):
        assert decode_image(data).equal(source[index].image)
        assert captions == source.captions(index)
    assert finding.reason == "no such file"
    world = records_of_config(CaptionsConfig(count=4))
    assert list(read_all(world)[0]) == [f"train-{k:06d}" for k in range(4)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.zip", "zips: expected files, came .*none.zip"),
        ("none.tar", "shards: expected files, came .*none.tar"),
        ("no-*.tar", r"shards: expected files that match .*no-\*.tar, came none"),
        ("none", "source: expected a .zip, a .tar, a pattern of tars or a folder, came"),
        ("", "root: expected images .* came none below"),
    ],
)
def test_what_is_not_there_is_said(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        records_of_path(tmp_path / name)


def test_captions_of_another_form_are_refused(tmp_path: Path) -> None:
    write_archive(tmp_path, zips=[{"a.png": picture(0)}], captions=["x"])
    with pytest.raises(ValueError, match=r"expected a JSON object .* came list"):
        records_of_path(tmp_path / "train-00.zip")
    with pytest.raises(ValueError, match=r"root: expected dev.captions.json"):
        records_of_config(CaptionsConfig(kind="archive", root=tmp_path, split="dev"))
