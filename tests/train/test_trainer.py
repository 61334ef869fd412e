import errno
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.train.conftest import quiet, said, tiny_config
from torch import Tensor

from vilseg_data import BrokenSampleError, CaptionBatch, CaptionSample, WorldCaptions
from vilseg_train import (
    CheckpointError,
    ConfigError,
    DivergedError,
    RunConfig,
    Trainer,
    TrainingStopped,
    load_config,
    open_run,
)
from vilseg_train.checkpoint import (
    Checkpoint,
    list_checkpoints,
    newest_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from vilseg_train.device import choose_device
from vilseg_train.record import Recorder
from vilseg_train.stop import StopRequest


def _stop_at(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, *, step: int) -> None:
    """Send SIGTERM to this process during a step."""
    inner = trainer._train_step

    def stopping(stop: StopRequest) -> int | None:
        if trainer.step == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(stop)

    monkeypatch.setattr(trainer, "_train_step", stopping)


def _train_with_stops(config: RunConfig, out: Path, *, stops: tuple[int, ...]) -> None:
    for number, step in enumerate(stops):
        trainer = Trainer(config, out=out, resume=number > 0, console=quiet())
        with pytest.MonkeyPatch.context() as patch:
            _stop_at(trainer, patch, step=step)
            with pytest.raises(TrainingStopped, match=f"SIGTERM: saved step {step} of 6"):
                trainer.fit()
    Trainer(config, out=out, resume=True, console=quiet()).fit()


def _newest(out: Path) -> Checkpoint:
    return newest_checkpoint(out / "checkpoints")[0]


def _assert_same_run(a: Path, b: Path) -> None:
    first, second = _newest(a), _newest(b)
    # Weights, moments, random states; position in the data, unfinished means.
    assert first.tensors.keys() == second.tensors.keys()
    assert [k for k, v in first.tensors.items() if not torch.equal(v, second.tensors[k])] == []
    assert (first.step, first.facts) == (second.step, second.facts)
    for file in ("metrics.jsonl", "config.toml", "tokenizer.json", "retrieval.json"):
        assert (a / file).read_bytes() == (b / file).read_bytes(), file


# Steps 1, 3, 5 lie inside a line of the record, 3 is the first with the clustering loss.
@pytest.mark.parametrize("stops", [(3,), (1, 2, 5)])
def test_stopped_and_resumed_equals_never_stopped(
    stops: tuple[int, ...], finished_run: Path, tmp_path: Path
) -> None:
    _train_with_stops(tiny_config(), tmp_path / "run", stops=stops)
    _assert_same_run(tmp_path / "run", finished_run)


def test_resume_is_exact_with_dropout_and_a_moving_centre(tmp_path: Path) -> None:
    config = tiny_config(
        "model.text.dropout=0.3", "loss.vision_targets=center", "loss.cluster_gradient=encoder"
    )
    Trainer(config, out=tmp_path / "whole", console=quiet()).fit()
    _train_with_stops(config, tmp_path / "parts", stops=(2, 5))
    _assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_going_back_to_an_earlier_checkpoint_is_exact(finished_run: Path, own_run: Path) -> None:
    # As after a kill: later metrics are there, the later checkpoint is not whole.
    last = list_checkpoints(own_run / "checkpoints")[-1]
    last.write_bytes(last.read_bytes()[:100])
    (own_run / "retrieval.json").unlink()
    console = quiet()
    Trainer(tiny_config(), out=own_run, resume=True, console=console).fit()
    assert "step-0000006.safetensors is truncated" in said(console)
    assert "going on from step 4 of 6" in said(console)
    _assert_same_run(own_run, finished_run)


def test_a_finished_run_resumes_to_itself(finished_run: Path, own_run: Path) -> None:
    Trainer(tiny_config(), out=own_run, resume=True, console=quiet()).fit()
    _assert_same_run(own_run, finished_run)
    (own_run / "retrieval.json").unlink()
    Trainer(tiny_config(), out=own_run, resume=True, console=quiet()).fit()
    _assert_same_run(own_run, finished_run)


def test_images_decoded_batch_by_batch_train_the_same_run(
    finished_run: Path, tmp_path: Path
) -> None:
    Trainer(tiny_config("data.cache=false"), out=tmp_path / "run", console=quiet()).fit()
    cached, streamed = _newest(finished_run), _newest(tmp_path / "run")
    assert cached.tensors.keys() == streamed.tensors.keys()
    for name, tensor in cached.tensors.items():
        assert torch.equal(tensor, streamed.tensors[name]), name


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
    tensors = _newest(tmp_path).tensors
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
                    _stop_at(trainer, patch, step=stops[number])
                    with pytest.raises(TrainingStopped):
                        trainer.fit()
                    spoiled = [4]
                else:
                    trainer.fit()
    _assert_same_run(tmp_path / "parts", tmp_path / "whole")
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


def test_a_full_disk_leaves_the_last_checkpoint_and_can_be_resumed(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    trainer = Trainer(tiny_config(), out=out, console=quiet())
    saves = []
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if str(target).endswith(".safetensors"):
            saves.append(target)
            if len(saves) == 3:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(CheckpointError, match=r"No space left.*step-0000002.*is whole"):
            trainer.fit()
    assert list_checkpoints(out / "checkpoints")[-1].name == "step-0000002.safetensors"
    Trainer(tiny_config(), out=out, resume=True, console=quiet()).fit()
    _assert_same_run(out, finished_run)


def test_a_full_disk_in_the_middle_of_a_line_of_the_record(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    trainer = Trainer(tiny_config(), out=out, console=quiet())
    log = Recorder.log

    def full(self: Recorder, step: int, values: Any, *, images: int) -> None:
        if step == 4:
            with (out / "metrics.jsonl").open("a") as file:
                file.write('{"step": 4, "lo')
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out / "metrics.jsonl"))
        log(self, step, values, images=images)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "log", full)
        with pytest.raises(OSError, match="No space left"):
            trainer.fit()
    # Before step 4 all is whole; of step 4 there is half a line, which a resume takes back.
    assert list_checkpoints(out / "checkpoints")[-1].name == "step-0000002.safetensors"
    read_checkpoint(list_checkpoints(out / "checkpoints")[-1])
    Trainer(tiny_config(), out=out, resume=True, console=quiet()).fit()
    _assert_same_run(out, finished_run)


def test_a_full_disk_at_the_first_step_leaves_a_folder_that_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match="there is none before it"):
            Trainer(tiny_config(), out=tmp_path / "run", console=quiet()).fit()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    Trainer(tiny_config("train.steps=1"), out=tmp_path / "run", console=quiet()).fit()


class _SomeBroken(WorldCaptions):
    """The world with one image that cannot be read."""

    images = None  # type: ignore[assignment]

    def __getitem__(self, index: int) -> CaptionSample:
        if index == 3:
            raise BrokenSampleError("train-000003", "truncated file")
        return super().__getitem__(index)


def test_broken_images_are_counted_named_and_listed(tmp_path: Path) -> None:
    source = _SomeBroken(count=20, image_size=32)
    console = quiet()
    config = tiny_config("data.max_broken=0.1", "train.steps=1")
    Trainer(config, out=tmp_path, source=source, console=console).fit()
    assert "skipped 1 of 20 samples" in said(console)
    assert "train-000003: truncated file" in said(console)
    assert json.loads((tmp_path / "broken.jsonl").read_text()) == {
        "key": "train-000003",
        "reason": "truncated file",
    }


def test_broken_validation_images_are_named_and_listed(tmp_path: Path) -> None:
    console = quiet()
    trainer = Trainer(tiny_config("train.steps=1"), out=tmp_path, console=console)
    trainer.validation = _SomeBroken(count=6, image_size=32)
    trainer.fit()
    assert "retrieval without train-000003: truncated file" in said(console)
    scores = json.loads((tmp_path / "retrieval.json").read_text())
    assert scores["images"] == 5
    assert scores["broken"] == [{"key": "train-000003", "reason": "truncated file"}]


def test_too_many_broken_images_stop_before_anything_is_written(tmp_path: Path) -> None:
    source = _SomeBroken(count=20, image_size=32)
    with pytest.raises(ValueError, match="train-000003: truncated file"):
        Trainer(tiny_config(), out=tmp_path / "run", source=source, console=quiet()).fit()
    assert not (tmp_path / "run").exists()


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


def test_signals_act_as_before_after_training(finished_run: Path) -> None:
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    assert finished_run.is_dir()
