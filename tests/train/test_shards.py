"""Training on tar shards, listed or streamed: stopped and resumed is never having stopped."""

from pathlib import Path

import pytest
import torch
from tests.data.captions.shard_files import write_shards
from tests.train.conftest import quiet, tiny_config

from vilseg_train import RunConfig, Trainer
from vilseg_train.checkpoint import newest_checkpoint

RUNS = ("whole", "stopped")


def config_of(shards: Path, *more: str) -> RunConfig:
    return tiny_config(
        "data.kind=shards",
        f"data.shards={shards}/{{00000..00002}}.tar",
        "data.validation_split=",
        "train.batch_size=4",
        *more,
    )


@pytest.mark.parametrize("stream", [False, True])
def test_a_run_on_shards_resumes_inside_a_shard(
    stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = write_shards(tmp_path / "shards", [7, 3, 9], captions=2)
    config = config_of(shards, f"data.stream={str(stream).lower()}", "data.shuffle=5")
    whole = Trainer(config, out=tmp_path / "whole", console=quiet())
    whole.fit()

    stopped = Trainer(config, out=tmp_path / "stopped", console=quiet())
    inner, steps = stopped._train_step, 0

    def failing() -> None:
        nonlocal steps
        if steps == 5:  # the last checkpoint is that of step 4
            raise RuntimeError("power cut")
        inner()
        steps += 1

    monkeypatch.setattr(stopped, "_train_step", failing)
    with pytest.raises(RuntimeError, match="power cut"):
        stopped.fit()
    Trainer(config, out=tmp_path / "stopped", resume=True, console=quiet()).fit()

    first, second = (newest_checkpoint(tmp_path / run / "checkpoints")[0] for run in RUNS)
    assert first.facts == second.facts
    assert ("shuffle" in first.facts["loader"]) == stream
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)
