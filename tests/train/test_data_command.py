import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.data.survey.files import picture, read_all, write_folder, write_tar
from typer.testing import CliRunner, Result

from vilseg_data.survey import checking, hashing, records_of_path
from vilseg_train.cli import app


def _vilseg(*arguments: str | int | Path) -> Result:
    return CliRunner().invoke(app, ["data", *(str(argument) for argument in arguments)])


def _refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    line = result.stderr.splitlines()[-1]
    for part in ("vilseg: ", *parts):
        assert part in line


def _table(folder: Path, count: int = 3) -> Path:
    write_folder(folder / "images", count)
    rows = [f"{k}.png,blobs of number {k}" for k in range(count)]
    table = folder / "captions.csv"
    table.write_text("\n".join(["image,caption", *rows]) + "\n")
    return table


def test_inspect_writes_numbers_and_a_sheet(tmp_path: Path) -> None:
    sheet, report = tmp_path / "new" / "sheet.png", tmp_path / "report.json"
    result = _vilseg(
        "inspect", _table(tmp_path), "--images", tmp_path / "images", "--sheet", sheet,
        "--json", report,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    for part in ("captions", "tokens a caption", "blobs 3"):
        assert part in result.stdout
    assert "a vocabulary learnt from 3 captions" in result.stderr
    found = json.loads(report.read_text())
    assert (found["samples"], found["words"]["blobs"]) == (3, 3)
    assert found["width"]["median"] == 48
    with Image.open(sheet) as image:
        assert image.width == 3 * 214 + 14


def test_check_answers_with_its_exit_code_and_a_report(tmp_path: Path) -> None:
    folder, report = write_folder(tmp_path / "data"), tmp_path / "report.json"
    clean = _vilseg("check", folder, "--json", report)
    assert clean.exit_code == 0, clean.stderr
    assert "nothing at fault" in clean.stdout
    assert json.loads(report.read_text())["clean"] is True
    (folder / "1.png").write_bytes(b"")
    (folder / "2.txt").write_text("blobs of number 0")
    found = _vilseg("check", folder, "--report", report)
    assert found.exit_code == 1
    assert "empty-image: 1.png: 0 bytes" in found.stdout
    written = json.loads(report.read_text())
    assert written["counts"] == {"duplicate-caption": 1, "empty-image": 1}
    assert (written["samples"], written["broken"]) == (2, [{"key": "1.png", "reason": "0 bytes"}])
    passed = _vilseg("check", folder, "--ignore", "empty-image", "--ignore", "duplicate-caption")
    assert passed.exit_code == 0


def test_check_compares_with_a_folder_or_a_labelled_set(tmp_path: Path) -> None:
    folder, held_out = write_folder(tmp_path / "data"), tmp_path / "val"
    held_out.mkdir()
    (held_out / "x.jpg").write_bytes(picture(2, kind="JPEG", quality=50))
    result = _vilseg("check", folder, "--against", held_out)
    assert result.exit_code == 1
    assert "leak: 2.png: " in result.stdout
    result = _vilseg("check", folder, "--against", "world")
    assert result.exit_code == 0
    assert "compared with the 200 images of world" in result.stdout
    # The training scenes are no scenes of the validation split.
    own = ["--set", "data.count=40", "--ignore", "duplicate-caption"]
    assert _vilseg("check", "world", "--against", "world", *own).exit_code == 0
    leaking = _vilseg(
        "check",
        "--against",
        "world",
        "--set",
        "data.split=val",
        *own,
        "--set",
        "data.validation_split=",
    )
    assert "leak: val-000000: 0 of 64 bits from val-000000 of world" in leaking.stdout


def test_check_goes_on_from_its_journal(tmp_path: Path) -> None:
    folder, journal = write_folder(tmp_path / "data"), tmp_path / "journal"
    first = _vilseg("check", folder, "--journal", journal)
    lines = journal.read_text().splitlines()
    assert len(lines) == 4
    # Not looked at again: the journal knows it.
    (folder / "1.png").write_bytes(b"")
    assert _vilseg("check", folder, "--journal", journal).stdout == first.stdout
    assert journal.read_text().splitlines() == lines
    _refused(
        _vilseg("check", folder, "--journal", journal, "--min-side", 9), "journal: expected that of"
    )


def test_pack_and_check_what_was_packed(tmp_path: Path) -> None:
    folder, out = write_folder(tmp_path / "data", 5), tmp_path / "out"
    result = _vilseg("pack", folder, "--out", out, "--shard-size", 2)
    assert result.exit_code == 0, result.stderr
    assert "5 samples in 3 shards" in result.stdout
    assert len(read_all(records_of_path(out))[0]) == 5
    assert _vilseg("check", out).exit_code == 0
    assert _vilseg("check", f"{out}/{{00000..00002}}.tar").exit_code == 0
    _refused(_vilseg("pack", folder, "--out", out), "out: expected an empty or new folder")
    (out / "00001.tar").unlink()
    again = _vilseg("pack", folder, "--out", out, "--shard-size", 2, "--resume")
    assert again.exit_code == 0, again.stderr
    assert len(read_all(records_of_path(out))[0]) == 5


def test_pack_says_what_it_left_out(tmp_path: Path) -> None:
    folder, report = write_folder(tmp_path / "data"), tmp_path / "report.json"
    (folder / "1.png").write_bytes(b"no image")
    result = _vilseg("pack", folder, "--out", tmp_path / "out", "--json", report)
    assert result.exit_code == 1
    assert "bad-image: 1.png: not an image" in result.stdout
    written = json.loads(report.read_text())
    assert (written["samples"], written["broken"][0]["key"]) == (2, "1.png")


def test_a_key_cannot_move_the_cursor(tmp_path: Path) -> None:
    members = {"\x1b[2Jx.png": b"", "\x1b[2Jx.txt": b"one"}
    result = _vilseg("check", write_tar(tmp_path / "a.tar", members))
    assert result.exit_code == 1
    assert "\x1b[2J" not in result.stdout
    assert r"a.tar/\x1b[2Jx: empty file" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["inspect", "wrold"], ["SOURCE: expected a preset", "came wrold", "did you mean world?"]),
        (["check", "none.csv"], ["table: expected a file, came none.csv"]),
        (["check", "none.zip"], ["zips: expected files, came none.zip"]),
        (["pack", "none.tar"], ["shards: expected files, came", "none.tar"]),
        (["check", "--set", "data.kind=archive"], ["root: expected a folder for kind 'archive'"]),
        (["check", "--set", "data.kindd=archive"], ["did you mean data.kind?"]),
        (["check", "data", "--set", "data.split=x"], ["--set data.split=x: expected a preset"]),
        (["check", "data", "--images", "data"], ["--images: expected a table"]),
        (["check", "data", "--ignore", "fish"], ["--ignore: expected one of archive, row"]),
        (["check", "data", "--against", "nowhere"], ["--against: expected a folder of images or"]),
        (["check", "data", "--against", "voc"], ["root: expected a folder for 'voc', came none"]),
        (["check", "data", "--root", "data"], ["--root: expected a set of --against"]),
        (["inspect", "empty"], ["root: expected images"]),
        (["inspect", "data", "--tokenizer", "none"], ["no tokenizer file at none"]),
        (["check", "data", "--journal", "none/journal"], ["none/journal: No such file"]),
    ],
)
def test_what_cannot_run_is_one_line_and_leaves_nothing(
    arguments: list[str], parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(Path("data"))
    Path("empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    _refused(_vilseg(*arguments), *parts)
    assert sorted(tmp_path.rglob("*")) == before


def test_defaults_are_those_of_the_library() -> None:
    # Written again in the command, which must not load the library to say them.
    text = _vilseg("check", "--help").output
    for value in (hashing.NEAR, checking.LEAST_SIDE, checking.MAX_WORDS, checking.MAX_CHARACTERS):
        assert f"[default: {value}]" in text


@pytest.mark.parametrize("command", ["inspect", "check", "pack"])
def test_help_names_the_source_and_loads_no_torch(command: str) -> None:
    script = (
        "import sys\n"
        "from vilseg_train.cli import app\n"
        "try:\n"
        f"    app(['data', {command!r}, '--help'], prog_name='vilseg')\n"
        "finally:\n"
        "    heavy = {'torch', 'numpy', 'PIL', 'vilseg_core', 'vilseg_data', 'vilseg_eval'}\n"
        "    print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    assert "LOADED []" in done.stdout
    for part in (f"Usage: vilseg data {command}", "SOURCE", "--set", "--images", "--json"):
        assert part in done.stdout


def test_a_zip_of_flickr8k(shared_data: Path, tmp_path: Path) -> None:
    source, out = shared_data / "flickr8k_128" / "rest-00.zip", tmp_path / "shards"
    report = tmp_path / "report.json"
    assert _vilseg("inspect", source, "--json", report).exit_code == 0
    found = json.loads(report.read_text())
    assert (found["samples"], found["captions"]) == (94, 470)
    assert found["captions_per_image"] == {"5": 94}
    assert _vilseg("check", source).exit_code == 1  # two captions are the same
    passed = ["--ignore", "duplicate-caption"]
    assert _vilseg("check", source, *passed).exit_code == 0
    assert _vilseg("pack", source, "--out", out, "--shard-size", 50).exit_code == 0
    leaking = _vilseg("check", out, "--against", out, *passed)
    _refused(leaking, "root: expected images")
    assert _vilseg("check", out, *passed).exit_code == 0
