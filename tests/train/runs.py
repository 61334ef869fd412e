"""Runs that are stopped, and runs that are the same."""

import os
import signal
from pathlib import Path

import pytest
import torch
from tests.train.conftest import quiet

from vilseg_train import RunConfig, Trainer, TrainingStopped
from vilseg_train.checkpoint import Checkpoint, newest_checkpoint
from vilseg_train.stop import StopRequest


def stop_at(
    trainer: Trainer,
    monkeypatch: pytest.MonkeyPatch,
    *,
    step: int,
    by: signal.Signals = signal.SIGTERM,
) -> None:
    """Send a signal to this process during a step."""
    inner = trainer._train_step

    def stopping(stop: StopRequest) -> int | None:
        if trainer.step == step - 1:
            os.kill(os.getpid(), by)
        return inner(stop)

    monkeypatch.setattr(trainer, "_train_step", stopping)


def train_with_stops(
    config: RunConfig, out: Path, *, stops: tuple[int, ...], by: signal.Signals = signal.SIGTERM
) -> None:
    """Train `config`, stopped after each of `stops` and resumed."""
    for number, step in enumerate(stops):
        trainer = Trainer(config, out=out, resume=number > 0, console=quiet())
        with pytest.MonkeyPatch.context() as patch:
            stop_at(trainer, patch, step=step, by=by)
            with pytest.raises(TrainingStopped, match=f"{by.name}: saved step {step} of 6"):
                trainer.fit()
        assert newest(out).step == step
    Trainer(config, out=out, resume=True, console=quiet()).fit()


def saved(out: Path) -> dict[str, bytes]:
    """Every file in the folder of checkpoints, unfinished ones too."""
    return {path.name: path.read_bytes() for path in (out / "checkpoints").iterdir()}


def newest(out: Path) -> Checkpoint:
    return newest_checkpoint(out / "checkpoints")[0]


def assert_same_run(a: Path, b: Path) -> None:
    first, second = newest(a), newest(b)
    # Weights, moments, random states; position in the data, unfinished means.
    assert first.tensors.keys() == second.tensors.keys()
    assert [k for k, v in first.tensors.items() if not torch.equal(v, second.tensors[k])] == []
    assert (first.step, first.facts) == (second.step, second.facts)
    for file in ("metrics.jsonl", "config.toml", "tokenizer.json", "retrieval.json"):
        assert (a / file).read_bytes() == (b / file).read_bytes(), file
