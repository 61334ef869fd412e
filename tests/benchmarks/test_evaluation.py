"""benchmarks.evaluation: a tiny run is valid, rows are times or reasons."""

import io
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from benchmarks import evaluation
from benchmarks.common import Budget
from benchmarks.data_problems import Contender, Unavailable
from benchmarks.evaluation_problems import CLASSES, Problem
from benchmarks.evaluation_report import summary
from benchmarks.evaluation_schema import (
    EvaluationResult,
    EvaluationRow,
    Subject,
    read_evaluation_result,
)
from rich.console import Console

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
ONCE = Budget(warmup_s=0.0, measure_s=0.0, min_repeats=1, max_repeats=1)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> EvaluationResult:
    """The file of a tiny run of everything."""
    path = tmp_path_factory.mktemp("results") / "deep" / "evaluation.json"
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    try:
        evaluation.main(["--quick", "--note", "a test", "--json", str(path)])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)
    assert [entry.name for entry in path.parent.iterdir()] == ["evaluation.json"]
    return read_evaluation_result(path)


def test_a_quick_run_measures_every_subject(result: EvaluationResult) -> None:
    assert result.note == "a test"
    assert result.settings.quick
    assert list(dict.fromkeys(row.subject for row in result.rows)) == list(get_args(Subject))
    for row in result.rows:
        assert row.timing is not None or row.origin == "peer"
    stages = [row.implementation for row in result.rows if row.subject == "stage"]
    steps = [stage.removeprefix("tiny: ") for stage in stages]
    assert steps[0] == "decode"
    assert {"encode", "cluster", "name", "upsample", "update"} <= set(steps)
    counts = {row.sizes["words"] for row in result.rows if row.subject == "words"}
    assert counts == {5, 8}
    assert all(row.sizes["classes"] == CLASSES for row in result.rows if row.subject == "update")


def test_the_table_has_each_row_or_its_reason(result: EvaluationResult) -> None:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(summary(result))
    printed = console.export_text()
    for row in result.rows:
        assert row.implementation in printed
        assert row.skipped is None or row.skipped[:20] in printed


@pytest.mark.parametrize("name", [*EvaluationResult.model_fields])
def test_a_missing_field_is_refused(result: EvaluationResult, name: str) -> None:
    fields = result.model_dump(mode="json")
    del fields[name]
    with pytest.raises(ValueError, match=rf"{name}\n  Field required"):
        EvaluationResult.model_validate(fields)


def test_a_row_has_a_time_or_a_reason(result: EvaluationResult) -> None:
    row = next(row for row in result.rows if row.timing).model_dump()
    changes: list[dict[str, Any]] = [{"skipped": "it rained"}, {"timing": None}]
    for change in changes:
        with pytest.raises(ValueError, match="give the time or the reason"):
            EvaluationRow.model_validate({**row, **change})


def test_peers_may_be_missing_or_fail_and_vilseg_may_not() -> None:
    def fail() -> None:
        raise RuntimeError("no codec in /opt/peer/lib.so")

    def missing(_: object) -> Any:
        raise Unavailable("not installed")

    peers = (Contender("a", "peer", missing), Contender("b", "peer", lambda _: fail))
    rows = evaluation.measure(Problem("update", 1, {}, peers), device="cpu", budget=ONCE)
    assert [row.skipped for row in rows] == ["not installed", "RuntimeError: no codec in <path>"]
    own = Problem("update", 1, {}, (Contender("c", "vilseg", lambda _: fail),))
    with pytest.raises(RuntimeError, match="no codec"):
        evaluation.measure(own, device="cpu", budget=ONCE)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--threads", "0"], "--threads: expected at least 1, came 0"),
        (["--clock", "processor", "--threads", "2"], "adds up all threads"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        evaluation.parse(arguments)
    assert text in capsys.readouterr().err


def test_committed_results_are_valid() -> None:
    for path in RESULTS.rglob("evaluation--*.json"):
        committed = read_evaluation_result(path)
        assert not committed.settings.quick
        assert committed.revision is not None
        assert not committed.revision.endswith("-dirty")
