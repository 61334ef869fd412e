"""Steps without a finite loss: skipped, counted, taken back, and the end of a run."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.train.conftest import quiet, said, tiny_config
from tests.train.runs import assert_same_run, newest, stop_at
from torch import Tensor

from vilseg_data import CaptionBatch
from vilseg_train import DivergedError, Trainer, TrainingStopped
from vilseg_train.checkpoint import list_checkpoints


def _spoil(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, *, steps: range) -> None:
    """Make the loss of some steps not a number, all the way back to the weights."""
    inner = trainer.objectives.loss

    def spoiled(*args: Any, step: int, **kwargs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss, parts = inner(*args, step=step, **kwargs)
        for buffer in trainer.objectives.buffers():
            buffer.add_(1.0 if step in steps else 0.0)
        return (loss * float("nan"), parts) if step in steps else (loss, parts)

    monkeypatch.setattr(trainer.objectives, "loss", spoiled)


def test_steps_without_a_finite_loss_are_skipped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("loss.vision_targets=center")
    trainer = Trainer(config, out=tmp_path, console=quiet())
    _spoil(trainer, monkeypatch, steps=range(1, 3))
    trainer.fit()
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines[:3]] == [1, 2, 2]
    tensors = newest(tmp_path).tensors
    assert all(bool(t.isfinite().all()) for t in tensors.values() if t.is_floating_point())
    # What the spoiled steps did to running statistics is undone, and AdamW did not count them.
    assert tensors["objectives/vision.targets.center"].abs().max() < 0.5
    assert tensors["optimizer/step/model.projection.weight"] == 4


def test_a_streak_goes_back_with_other_batches_and_ends_the_run_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("train.steps=30", "train.max_nonfinite=4", "train.max_rollbacks=2")
    console = quiet()
    trainer = Trainer(config, out=tmp_path, console=console)
    _spoil(trainer, monkeypatch, steps=range(3, 30))
    seen = _keys_of_batches(trainer, monkeypatch)
    with pytest.raises(DivergedError, match="no finite loss in the 4 steps up to step 7, which"):
        trainer.fit()
    # Steps 3, 4, 5, 6 are lost each time; their batches and those since step 2 are not seen again.
    assert len(seen) == 7 + 5 + 5
    assert len(set(seen)) == len(seen)
    assert trainer.meter.skipped == 12
    assert "back to step 2 with the batches that follow, 2 of 2 times" in said(console)
    # Nothing was saved within a streak: what is there is from before it.
    assert [p.name for p in list_checkpoints(tmp_path / "checkpoints")] == [
        "step-0000000.safetensors",
        "step-0000002.safetensors",
    ]
    # The last streak is on record, those before it are not.
    assert _steps_recorded(tmp_path) == [2, 4, 6]


def test_a_run_that_went_back_learns_on_and_resumes_to_the_same_bits(tmp_path: Path) -> None:
    config = tiny_config("train.max_nonfinite=2", "train.steps=8")
    for out, stops in ((tmp_path / "whole", []), (tmp_path / "parts", [4])):
        spoiled = [3, 4]
        for number in range(len(stops) + 1):
            trainer = Trainer(config, out=out, resume=number > 0, console=quiet())
            with pytest.MonkeyPatch.context() as patch:
                # The batches of these steps are bad: met once, and again after a resume.
                _spoil_once(trainer, patch, steps=spoiled)
                if number < len(stops):
                    # Within the streak, whose second half comes after the resume.
                    stop_at(trainer, patch, step=stops[number])
                    with pytest.raises(TrainingStopped):
                        trainer.fit()
                    spoiled = [4]
                else:
                    trainer.fit()
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    lines = [json.loads(x) for x in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 8]
    assert [line.get("rollbacks") for line in lines[:4]] == [None, 1, 1, 1]
    assert lines[3]["skipped"] == 2


def _spoil_once(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, *, steps: list[int]) -> None:
    """As `_spoil`, before the first rollback only."""
    inner = trainer.objectives.loss

    def spoiled(*args: Any, step: int, **kwargs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss, parts = inner(*args, step=step, **kwargs)
        bad = step in steps and trainer.meter.rollbacks == 0
        return (loss * float("nan"), parts) if bad else (loss, parts)

    monkeypatch.setattr(trainer.objectives, "loss", spoiled)


def _keys_of_batches(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[int, tuple[str, ...]]]:
    """The epoch and the samples of each batch, as they are given."""
    seen: list[tuple[int, tuple[str, ...]]] = []
    inner = trainer.loader.next_batch

    def noting() -> CaptionBatch:
        batch = inner()
        seen.append((batch.epoch, batch.keys))
        return batch

    monkeypatch.setattr(trainer.loader, "next_batch", noting)
    return seen


def _steps_recorded(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
