"""Training on tar shards, listed or streamed: stopped and resumed is never having stopped."""

import json
from pathlib import Path

import pytest
import torch
from tests.data.captions.shard_files import write_shards
from tests.train.conftest import quiet, said, tiny_config
from tests.train.runs import newest

from vilseg_train import RunConfig, Trainer
from vilseg_train.folder import list_broken
from vilseg_train.stop import StopRequest

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

    def failing(stop: StopRequest) -> int | None:
        nonlocal steps
        if steps == 5:  # the last checkpoint is that of step 4
            raise RuntimeError("power cut")
        steps += 1
        return inner(stop)

    monkeypatch.setattr(stopped, "_train_step", failing)
    with pytest.raises(RuntimeError, match="power cut"):
        stopped.fit()
    Trainer(config, out=tmp_path / "stopped", resume=True, console=quiet()).fit()

    first, second = (newest(tmp_path / run) for run in RUNS)
    assert first.facts == second.facts
    assert ("shuffle" in first.facts["loader"]) == stream
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


def test_broken_shards_of_a_stream_are_listed_as_they_are_met(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", [6, 6, 6])
    cut = (shards / "00001.tar").read_bytes().rstrip(b"\0")
    (shards / "00001.tar").write_bytes(cut)
    config = config_of(shards, "data.stream=true", "train.steps=6", "train.checkpoint_every=2")
    console, out = quiet(), tmp_path / "run"
    Trainer(config, out=out, console=console).fit()
    assert said(console).count("skipped 1 so far") == 1
    (listed,) = (out / "broken.jsonl").read_text().splitlines()
    assert json.loads(listed)["key"] == "00001.tar"

    # As after resuming: what the file has is kept, and named once.
    list_broken(out, [("b", "gone"), ("b", "gone")], total=None, console=console)
    assert "skipped 2 so far" in said(console)
    assert len((out / "broken.jsonl").read_text().splitlines()) == 2
