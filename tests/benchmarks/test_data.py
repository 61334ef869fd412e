"""benchmarks.data: a tiny run is valid, rows are times or reasons, images are read."""

import io
import zipfile
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from benchmarks import data
from benchmarks.common import Budget
from benchmarks.data_images import cycle, draw, read
from benchmarks.data_measure import measure
from benchmarks.data_problems import Contender, Problem, Unavailable, load
from benchmarks.data_report import summary
from benchmarks.data_schema import DataResult, DataRow, Origin, Subject, read_data_result
from PIL import Image
from rich.console import Console

ONCE = Budget(warmup_s=0.0, measure_s=0.0, min_repeats=1, max_repeats=1)
# webdataset leaves a shard open that nobody reads to its end.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> DataResult:
    """The file of a tiny run of everything."""
    path = tmp_path_factory.mktemp("results") / "deep" / "data.json"
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    try:
        data.main(["--quick", "--note", "a test", "--json", str(path)])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)
    assert [entry.name for entry in path.parent.iterdir()] == ["data.json"]
    return read_data_result(path)


@pytest.fixture
def fields(result: DataResult) -> dict[str, Any]:
    return result.model_dump(mode="json")


def test_a_quick_run_measures_every_subject_by_both_clocks(result: DataResult) -> None:
    assert result.note == "a test"
    assert result.settings.quick
    assert list(dict.fromkeys(row.subject for row in result.rows)) == list(get_args(Subject))
    for row in result.rows:
        if row.origin == "vilseg":
            assert row.wall is not None
            assert row.processor is not None
    assert {row.limit for row in result.rows if row.subject == "loader"} == {"raw decode"}
    assert {row.limit for row in result.rows if row.subject == "looks"} == {"copy"}


def test_peers_that_every_machine_has_are_measured(result: DataResult) -> None:
    skipped = {row.implementation for row in result.rows if row.skipped}
    measured = {row.implementation for row in result.rows if row.wall}
    assert {"Pillow raw decode", "Pillow + resize", "webdataset plain, tar"} <= measured - skipped


def test_decoding_is_held_against_pillow_in_the_same_problem(result: DataResult) -> None:
    rows = [row for row in result.rows if row.limit == "raw decode"]
    for raw in (row for row in rows if row.implementation == "Pillow raw decode"):
        assert raw.images_per_s == pytest.approx(raw.limit_images_per_s)  # of one repeat
        same = [row for row in rows if (row.subject, row.sizes) == (raw.subject, raw.sizes)]
        assert {row.limit_images_per_s for row in same} == {raw.limit_images_per_s}


def test_the_table_has_each_row_or_its_reason(result: DataResult) -> None:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(summary(result))
    printed = console.export_text()
    for row in result.rows:
        assert row.implementation in printed
        assert row.skipped is None or row.skipped[:20] in printed


@pytest.mark.parametrize("name", [*DataResult.model_fields])
def test_a_missing_field_is_refused(fields: dict[str, Any], name: str) -> None:
    del fields[name]
    with pytest.raises(ValueError, match=rf"{name}\n  Field required"):
        DataResult.model_validate(fields)


def test_an_unknown_field_and_a_path_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        DataResult.model_validate({**fields, "mood": "good"})
    with pytest.raises(ValueError, match="no path of the machine"):
        DataResult.model_validate({**fields, "note": "measured in /home/someone/photos"})


def test_a_row_has_times_or_a_reason(fields: dict[str, Any]) -> None:
    row = next(row for row in fields["rows"] if row["wall"])
    for change in ({"skipped": "it rained"}, {"wall": None}):
        with pytest.raises(ValueError, match="expected times or a reason"):
            DataRow.model_validate({**row, **change})


def test_a_gpu_has_no_processor_time_and_the_cpu_has(fields: dict[str, Any]) -> None:
    fields["environment"]["device"] = "cuda"
    with pytest.raises(ValueError, match="None on a GPU"):
        DataResult.model_validate(fields)


def row_of(contender: Contender) -> DataRow:
    """The row of a contender of our own making, three images a call."""
    problem = Problem("flip", 3, {"image": 8}, (contender,), least_bytes=12, alone=True)
    [row] = measure(problem, device="cpu", budget=ONCE, copy_bytes_per_s=40.0)
    assert row.limit_images_per_s == pytest.approx(10)
    return row


@pytest.mark.parametrize("origin", ["vilseg", "peer"])
def test_only_a_peer_may_fail(origin: Origin) -> None:
    def fail() -> None:
        raise RuntimeError("no codec in /opt/peer/lib.so\nlong trace")

    contender = Contender("made up", origin, lambda _: fail)
    if origin == "vilseg":
        with pytest.raises(RuntimeError, match="no codec"):
            row_of(contender)
    else:
        row = row_of(contender)
        assert row.skipped == "RuntimeError: no codec in <path>"
        assert row.images_per_s is None


def test_what_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(Unavailable, match="pip install nothing-at-all"):
        load("no_such_peer_of_vilseg", package="nothing-at-all")
    row = row_of(Contender("x", "peer", lambda _: load("no_such_peer", package="nothing")))
    assert row.skipped is not None
    assert row.skipped.startswith("not installed")


def test_the_rate_is_images_over_the_median() -> None:
    row = row_of(Contender("made up", "peer", lambda _: lambda: None))
    assert row.processor is not None
    assert row.images_per_s == pytest.approx(3 / row.processor.median_s)


def test_a_contender_is_closed_after_it_was_measured() -> None:
    closed: list[bool] = []

    def call() -> None:
        assert not closed

    def build(stack: Any) -> Any:
        stack.callback(closed.append, True)
        return call

    row_of(Contender("made up", "vilseg", build))
    assert closed == [True]


def test_drawn_images_are_the_same_again_and_as_large_as_asked() -> None:
    images = draw(3, width=60, height=40, seed=5)
    assert images.files == draw(3, width=60, height=40, seed=5).files
    assert len(set(images.files)) == 3
    assert (images.used.mean_width, images.used.mean_height) == (60, 40)
    assert images.used.mean_bytes == sum(map(len, images.files)) / 3
    with Image.open(io.BytesIO(images.files[0])) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")


def test_given_images_are_read_from_a_folder_or_a_zip(tmp_path: Path) -> None:
    files = draw(3, width=40, height=32, seed=0).files
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for index, content in enumerate(files):
            (tmp_path / "sub").mkdir(exist_ok=True)
            (tmp_path / "sub" / f"{index}.JPG").write_bytes(content)
            archive.writestr(f"sub/{index}.jpg", content)
    for path in (tmp_path, tmp_path / "photos.zip"):
        found = read(path, count=2)
        assert found.files == files[:2]
        assert (found.used.source, found.used.quality) == ("given", None)
    given = data.parse(["--images", str(tmp_path), "--only", "loader"])
    assert given.images.files == files


@pytest.mark.parametrize(
    ("names", "text"),
    [(None, "expected a folder or a zip"), ([], "at least one .jpg"), (["a.jpg"], "one that is")],
)
def test_no_images_is_refused(tmp_path: Path, names: list[str] | None, text: str) -> None:
    for name in names or []:
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(ValueError, match=text):
        read(tmp_path if names is not None else tmp_path / "missing", count=4)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--only", "decode", "--device", "cuda"], "decode: runs on the CPU"),
        (["--batch", "0"], "--batch: expected at least 1, came 0"),
        (["--count", "-1"], "--count: expected at least 1, came -1"),
        (["--images", "no-such-folder"], "expected a folder or a zip"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        data.parse(arguments)
    assert text in capsys.readouterr().err


def test_files_are_taken_over_and_over() -> None:
    assert cycle([b"a", b"b"], 5) == [b"a", b"b", b"a", b"b", b"a"]
