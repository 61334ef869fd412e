"""benchmarks.training: a tiny run is valid, its parts add up, committed results are valid."""

import signal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import training
from benchmarks.training_problems import QUICK
from benchmarks.training_scaling import scaling
from benchmarks.training_schema import TrainingResult, TrainingRow, read_training_result
from pydantic import ValidationError
from rich.console import Console

from vilseg_train.spans import ENCODER, TEXT

COMMITTED = sorted((Path(training.__file__).parent / "results").rglob("training--*.json"))


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    path = tmp_path_factory.mktemp("results") / "training.json"
    threads = torch.get_num_threads()
    try:
        training.main(["--quick", "--skip", "scaling", "--note", "a test", "--json", str(path)])
    finally:
        torch.set_num_threads(threads)
    return read_training_result(path)


def test_a_quick_run_measures_every_part(result: TrainingResult) -> None:
    [row] = result.rows
    assert {"data", "views", "text encoder", "backward", "optimiser", "L_cross"} <= set(row.parts)
    assert sum(row.parts.values()) == pytest.approx(row.step_s)
    assert list(row.encoders) == [*ENCODER.values(), TEXT]
    assert row.overhead < 1
    assert row.caching is not None
    assert (row.caching.batch, row.caching.chunk) == (4, 2)
    assert row.scaling == ()


@pytest.mark.slow  # two processes import torch
def test_the_same_step_on_two_processes() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found = scaling(QUICK[0], device="cpu")
    assert signal.getsignal(signal.SIGTERM) == before
    assert [(one.processes, one.batch) for one in found] == [(1, 4), (2, 4), (2, 8)]


def test_the_summary_has_every_part(result: TrainingResult) -> None:
    console = Console(file=StringIO(), width=120)
    console.print(training.summary(result))
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert all(part in text for part in result.rows[0].parts)


def test_a_row_whose_parts_do_not_add_up_is_refused(result: TrainingResult) -> None:
    fields: dict[str, Any] = result.rows[0].model_dump()
    with pytest.raises(ValidationError, match="parts: expected a sum of"):
        TrainingRow.model_validate(fields | {"step_s": 2 * fields["step_s"]})


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_results_are_valid(path: Path) -> None:
    result = read_training_result(path)
    assert not result.quick
    assert result.note
