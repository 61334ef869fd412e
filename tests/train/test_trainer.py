"""What a run leaves, what it needs, and that it learns."""

import json
import signal
from pathlib import Path
from types import FrameType

import pytest
import torch
from PIL import Image
from tests.train.conftest import quiet, tiny_config

from vilseg_train import ConfigError, Trainer, load_config, open_run
from vilseg_train.checkpoint import list_checkpoints
from vilseg_train.device import choose_device
from vilseg_train.stop import SIGNALS


def test_another_seed_is_another_run(finished_run: Path, tmp_path: Path) -> None:
    Trainer(tiny_config("seed=1", "train.steps=1"), out=tmp_path, console=quiet()).fit()
    one = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    other = json.loads((finished_run / "metrics.jsonl").read_text().splitlines()[0])
    assert one["loss"] != other["loss"]


def test_the_folder_holds_what_is_promised(finished_run: Path) -> None:
    names = {path.name for path in finished_run.iterdir()}
    assert names == {
        "README.md",
        "checkpoints",
        "config.toml",
        "metrics.jsonl",
        "retrieval.json",
        "samples",
        "tensorboard",
        "tokenizer.json",
    }
    lines = [json.loads(x) for x in (finished_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 6]
    assert {"loss", "cross", "vision", "temperature", "gradient_norm", "lr", "skipped"} <= set(
        lines[0]
    )
    assert ["cluster" in line for line in lines[:3]] == [False, True, True]
    assert lines[3]["retrieval"] == json.loads((finished_run / "retrieval.json").read_text())
    assert lines[3]["retrieval"]["images"] == 6
    # Two columns of 32 pixels, 4 times as large, with a gap.
    with Image.open(finished_run / "samples" / "step-0000006.png") as picture:
        assert picture.size == (66 * 4, 66 * 4)
    assert [p.name for p in list_checkpoints(finished_run / "checkpoints")] == [
        "step-0000004.safetensors",
        "step-0000006.safetensors",
    ]


def test_the_saved_configuration_is_the_resolved_one(finished_run: Path) -> None:
    run = open_run(finished_run)
    assert load_config(finished_run / "config.toml") == run.config
    assert run.config.model.text.vocab_size == run.tokenizer.vocab_size == 300
    assert run.config != tiny_config()
    assert not run.model.training


def test_learning_lowers_the_loss(tmp_path: Path) -> None:
    config = tiny_config(
        "train.steps=40", "train.log_every=10", "loss.cluster=0", "train.checkpoint_every=40"
    )
    Trainer(config, out=tmp_path, console=quiet()).fit()
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[3]["cross"] < lines[0]["cross"] - 0.2


def test_an_occupied_folder_is_refused_without_resume(own_run: Path, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in own_run.rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match="exists and is not empty; go on with it by --resume"):
        Trainer(tiny_config(), out=own_run, console=quiet())
    assert {p: p.read_bytes() for p in own_run.rglob("*") if p.is_file()} == before
    with pytest.raises(ConfigError, match="is a file; give a folder"):
        Trainer(tiny_config(), out=own_run / "config.toml", console=quiet())
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    Trainer(tiny_config(), out=tmp_path / "empty", console=quiet())


@pytest.mark.parametrize("name", ["abc", "mps"])
def test_the_device_is_checked(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=f"train\\.device: expected auto, cpu or cuda, came '{name}'"
    ):
        Trainer(tiny_config(f"train.device={name}"), out=tmp_path / "run", console=quiet())


@pytest.mark.parametrize(
    ("found", "message"),
    [(0, "'cuda:3' asked for, but torch finds no GPU; use cpu"), (2, "finds 2 GPU; use cuda")],
)
def test_a_gpu_that_is_not_there_is_refused(
    found: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: found)
    with pytest.raises(ValueError, match=message):
        choose_device("cuda:3")


def test_signals_act_as_before_after_training(tmp_path: Path) -> None:
    def own(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError("no signal was sent")

    before = {number: signal.signal(number, own) for number in SIGNALS}
    try:
        Trainer(tiny_config("train.steps=1"), out=tmp_path, console=quiet()).fit()
        assert [signal.getsignal(number) for number in SIGNALS] == [own, own]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
