"""Result files: those committed are valid, a run writes a valid one, a broken one is refused."""

import platform
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from benchmarks import losses
from benchmarks.command import RESULTS
from benchmarks.common import write_result
from benchmarks.loss_contenders import Contender, LossFunction, named
from benchmarks.loss_measure import WORKS, Options, measure
from benchmarks.loss_plots import plot
from benchmarks.loss_problems import LOSSES, QUICK, InfoNCE
from benchmarks.loss_report import summary
from benchmarks.schema import Limits, Result, Row, read_result, result_name, without_paths
from rich.console import Console

TINY = Options(
    device="cpu",
    problems=tuple(QUICK.problems(torch.float32)),
    works=WORKS,
    compiled=False,
    memory_limit=2.0**30,
    seed=0,
    quick=True,
)
COMMITTED = sorted(RESULTS.rglob("losses--*.json"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a tiny run of everything."""
    path = tmp_path_factory.mktemp("results") / "deep" / "losses.json"
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINETO_LOG_LEVEL", "99")
        arguments = ["--quick", "--dtype", "float32", "--note", "a test", "--json", str(path)]
        try:
            losses.main(arguments)
        finally:
            torch.set_num_threads(threads)
    return path


@pytest.fixture(scope="module")
def result(written: Path) -> Result:
    return read_result(written)


@pytest.fixture
def fields(result: Result) -> dict[str, Any]:
    return result.model_dump(mode="json")


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_committed_results_validate_and_lie_where_they_say(path: Path) -> None:
    result = read_result(path)
    assert path.name == result_name(result.suite, result.environment)
    assert path.parent.name == result.vilseg_version
    assert not result.settings.quick
    assert any(row.skipped is None for row in result.rows)
    node = platform.node()
    assert not node or f'"{node}"' not in path.read_text(encoding="utf-8")


def test_a_run_writes_one_whole_file(written: Path, result: Result) -> None:
    assert [path.name for path in written.parent.iterdir()] == ["losses.json"]
    assert result.note == "a test"
    assert result.settings.quick
    assert {row.loss for row in result.rows} == set(LOSSES)
    assert {row.work for row in result.rows} == set(WORKS)


def test_every_named_implementation_is_measured_or_says_why_not(result: Result) -> None:
    for name in named():
        rows = [row for row in result.rows if row.implementation == f"vilseg {name}"]
        assert {row.loss for row in rows} == set(LOSSES)
        assert all(row.skipped is None or "impl" in row.skipped for row in rows)
    assert all(
        row.skipped is None for row in result.rows if row.implementation == "vilseg reference"
    )


def test_comparable_implementations_agree_on_the_loss(result: Result) -> None:
    found: dict[tuple[str, ...], list[float]] = {}
    for row in result.rows:
        if row.comparable and row.value is not None:
            found.setdefault((row.loss, str(row.sizes), row.layout), []).append(row.value)
    assert found
    for values in found.values():
        assert len(values) > len(WORKS)
        assert values == pytest.approx([values[0]] * len(values), rel=1e-4, abs=1e-5)


def test_what_does_not_fit_is_skipped_with_the_sizes() -> None:
    options = replace(TINY, problems=(InfoNCE(24, 16, torch.float32),), memory_limit=1.0)
    reasons = {row.implementation: row.skipped for row in losses.run(options).rows}
    assert "GiB (--memory-limit)" in str(reasons["torch eager"])
    assert reasons["torch linear_cross_entropy"] is None


def row_of(*, origin: Literal["vilseg", "peer"], build: Callable[[], LossFunction]) -> Row:
    """The row of a contender of our own making."""
    [row] = measure(
        [Contender("made up", origin, build)],
        InfoNCE(3, 2, torch.float32),
        work="forward",
        options=TINY,
        limits=Limits(copy_bytes_per_s=1.0, matrix_flop_per_s={"float32": 1.0}),
    )
    return row


def test_a_loss_that_is_not_a_number_is_a_reason() -> None:
    row = row_of(origin="vilseg", build=lambda: lambda *_: torch.tensor(float("nan")))
    assert row.skipped == "its loss is nan"


def test_a_peer_may_fail_in_its_own_way_and_vilseg_may_not() -> None:
    def build() -> LossFunction:
        raise RuntimeError("no kernel in /opt/peer/lib.so\nlong trace")

    assert row_of(origin="peer", build=build).skipped == "RuntimeError: no kernel in <path>"
    with pytest.raises(RuntimeError, match="no kernel"):
        row_of(origin="vilseg", build=build)


def test_the_roofline_is_the_longer_of_copying_and_multiplying() -> None:
    row = row_of(origin="peer", build=lambda: lambda *_: torch.ones(()))
    assert row.timing is not None
    assert (row.least_bytes, row.least_flop) == (2 * 3 * 2 * 4, 2 * 3 * 3 * 2)
    assert row.roofline_fraction == pytest.approx(48 / row.timing.median_s)


def test_plots_are_pictures(result: Result, tmp_path: Path) -> None:
    paths = plot(result, folder=tmp_path)
    assert [path.name for path in paths] == [f"{loss}-float32.png" for loss in LOSSES]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


@pytest.mark.parametrize("points", [1, 2])
def test_a_narrowed_run_has_plots(result: Result, points: int, tmp_path: Path) -> None:
    kept = list(dict.fromkeys((row.loss, str(row.sizes)) for row in result.rows))[:points]
    rows = tuple(row for row in result.rows if (row.loss, str(row.sizes)) in kept)
    assert len(plot(result.model_copy(update={"rows": rows}), folder=tmp_path)) == 1


def test_graphs_are_reported_beside_the_calls(fields: dict[str, Any], tmp_path: Path) -> None:
    third = {"median_s": 2e-6, "p20_s": 1e-6, "p80_s": 3e-6, "repeats": 5}
    for row in fields["rows"]:
        if row["skipped"] is None:
            row["timing"] = {"median_s": 6e-6, "p20_s": 5e-6, "p80_s": 7e-6, "repeats": 5}
            row["roofline_fraction"] = 0.2
            row["graph"] = {"timing": third, "skipped": None}
            if row["origin"] == "vilseg":
                row["graph"] = {"timing": None, "skipped": "it waits"}
    result = Result.model_validate(fields)
    console = Console(width=200, file=StringIO(), record=True)
    console.print(summary(result))
    printed = console.export_text()
    assert "as a graph: it waits" in printed
    [*_, line] = [text for text in printed.splitlines() if "torch eager" in text]
    # Three times as fast as the calls, so three times as near to the roofline.
    assert line.split()[-6:-2] == ["0.002", "1.00", "60", "%"]
    assert len(plot(result, folder=tmp_path)) == len(LOSSES)


@pytest.mark.parametrize("name", list(Result.model_fields))
def test_a_missing_field_is_refused(fields: dict[str, Any], name: str) -> None:
    del fields[name]
    with pytest.raises(ValueError, match=rf"{name}\n  Field required"):
        Result.model_validate(fields)


def test_an_unknown_field_is_refused(fields: dict[str, Any]) -> None:
    fields["rows"][0]["mood"] = "good"
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        Result.model_validate(fields)


def test_a_row_is_measured_or_skipped(fields: dict[str, Any]) -> None:
    measured = next(row for row in fields["rows"] if row["skipped"] is None)
    measured["timing"] = None
    with pytest.raises(ValueError, match="give the numbers or the reason"):
        Result.model_validate(fields)


def test_a_skipped_row_has_no_graph(fields: dict[str, Any]) -> None:
    skipped = next(row for row in fields["rows"] if row["skipped"])
    skipped["graph"] = {"timing": None, "skipped": "cannot be captured"}
    with pytest.raises(ValueError, match="graph: expected None in a skipped row"):
        Result.model_validate(fields)


def test_percentiles_out_of_order_are_refused(fields: dict[str, Any]) -> None:
    measured = next(row for row in fields["rows"] if row["skipped"] is None)
    measured["timing"]["p80_s"] = measured["timing"]["median_s"] / 2
    with pytest.raises(ValueError, match="expected ascending percentiles"):
        Result.model_validate(fields)


def test_a_path_in_the_note_is_refused(fields: dict[str, Any]) -> None:
    fields["note"] = "measured from /home/someone/vilseg"
    with pytest.raises(ValueError, match="no path of the machine"):
        Result.model_validate(fields)


def test_paths_are_taken_out_and_ratios_stay() -> None:
    text = "no compiler at /usr/local/bin/g++ or C:\\tools\\bin\\cl; 3 GB/s, forward/backward"
    assert without_paths(text) == "no compiler at <path> or <path> 3 GB/s, forward/backward"


def test_a_write_that_fails_keeps_the_old_file(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "losses.json"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_result(path, result)
    assert [entry.name for entry in tmp_path.iterdir()] == ["losses.json"]
    assert path.read_text() == "old"
