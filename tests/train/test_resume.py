"""Stopped and resumed, a run ends in the bits of one that never was; what cannot go on says why."""

import shutil
import signal
from pathlib import Path

import pytest
import torch
from tests.train.conftest import quiet, said, tiny_config
from tests.train.runs import assert_same_run, newest, train_with_stops

from vilseg_train import CheckpointError, ConfigError, Trainer, open_run
from vilseg_train.checkpoint import list_checkpoints, read_checkpoint, save_checkpoint


# Steps 1, 3, 5 lie inside a line of the record, 3 is the first with the clustering loss.
@pytest.mark.parametrize(
    ("stops", "by"), [((3,), signal.SIGINT), ((1, 2, 5), signal.SIGTERM)], ids=str
)
def test_stopped_and_resumed_equals_never_stopped(
    stops: tuple[int, ...], by: signal.Signals, finished_run: Path, tmp_path: Path
) -> None:
    train_with_stops(tiny_config(), tmp_path / "run", stops=stops, by=by)
    assert_same_run(tmp_path / "run", finished_run)


def test_resume_is_exact_with_dropout_and_a_moving_centre(tmp_path: Path) -> None:
    config = tiny_config(
        "model.text.dropout=0.3", "loss.vision_targets=center", "loss.cluster_gradient=encoder"
    )
    Trainer(config, out=tmp_path / "whole", console=quiet()).fit()
    train_with_stops(config, tmp_path / "parts", stops=(2, 5))
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_going_back_to_an_earlier_checkpoint_is_exact(finished_run: Path, own_run: Path) -> None:
    # As after a kill: later metrics are there, the later checkpoint is not whole.
    last = list_checkpoints(own_run / "checkpoints")[-1]
    last.write_bytes(last.read_bytes()[:100])
    (own_run / "retrieval.json").unlink()
    console = quiet()
    Trainer(tiny_config(), out=own_run, resume=True, console=console).fit()
    assert "step-0000006.safetensors is truncated" in said(console)
    assert "going on from step 4 of 6" in said(console)
    assert_same_run(own_run, finished_run)


def test_a_finished_run_resumes_to_itself(finished_run: Path, own_run: Path) -> None:
    Trainer(tiny_config(), out=own_run, resume=True, console=quiet()).fit()
    assert_same_run(own_run, finished_run)
    (own_run / "retrieval.json").unlink()
    Trainer(tiny_config(), out=own_run, resume=True, console=quiet()).fit()
    assert_same_run(own_run, finished_run)


def test_images_decoded_batch_by_batch_train_the_same_run(
    finished_run: Path, tmp_path: Path
) -> None:
    Trainer(tiny_config("data.cache=false"), out=tmp_path / "run", console=quiet()).fit()
    cached, streamed = newest(finished_run), newest(tmp_path / "run")
    assert cached.tensors.keys() == streamed.tensors.keys()
    for name, tensor in cached.tensors.items():
        assert torch.equal(tensor, streamed.tensors[name]), name


def test_nothing_to_resume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"--resume: cannot go on in .*: no checkpoint in"):
        Trainer(tiny_config(), out=tmp_path / "none", resume=True, console=quiet())
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lr=0.5", r"optim.lr is 0.5 now and was 0.002 when .* began"),
        ("train.steps=7", r"train.steps is 7 now and was 6"),
        ("model.embed_dim=32", r"model.embed_dim is 32 now and was 24"),
    ],
)
def test_resume_with_another_configuration_names_the_key(
    override: str, message: str, finished_run: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        Trainer(tiny_config(override), out=finished_run, resume=True, console=quiet())


def test_a_checkpoint_of_another_shape_names_the_tensor(own_run: Path, tmp_path: Path) -> None:
    other = tiny_config("model.prototypes=12", "train.steps=2")
    Trainer(other, out=tmp_path / "other", console=quiet()).fit()
    theirs = read_checkpoint(list_checkpoints(tmp_path / "other" / "checkpoints")[-1])
    mine = read_checkpoint(list_checkpoints(own_run / "checkpoints")[-1])
    theirs.facts["config"] = mine.facts["config"]
    shutil.rmtree(own_run / "checkpoints")
    save_checkpoint(own_run / "checkpoints", theirs, keep=1)
    shapes = r"projection.weight has shape \(12, 24\) in the file and \(8, 24\) in the model"
    with pytest.raises(CheckpointError, match=shapes):
        Trainer(tiny_config(), out=own_run, resume=True, console=quiet())
    with pytest.raises(CheckpointError, match=shapes):
        open_run(own_run)
