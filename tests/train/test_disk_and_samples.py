"""A disk that is full and samples that are broken, with what was on the disk before and after."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.train.conftest import quiet, said, tiny_config
from tests.train.runs import assert_same_run, saved

from vilseg_data import BrokenSampleError, CaptionSample, WorldCaptions
from vilseg_train import CheckpointError, Trainer
from vilseg_train.checkpoint import list_checkpoints, read_checkpoint
from vilseg_train.record import Recorder


def test_a_full_disk_leaves_the_last_checkpoint_and_can_be_resumed(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    trainer = Trainer(tiny_config(), out=out, console=quiet())
    before: dict[str, bytes] = {}
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).name == "step-0000004.safetensors":
            before.update(saved(out))
            del before[Path(source).name]
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(CheckpointError, match=r"No space left.*step-0000002.*is whole"):
            trainer.fit()
    assert sorted(before) == ["step-0000000.safetensors", "step-0000002.safetensors"]
    assert saved(out) == before
    Trainer(tiny_config(), out=out, resume=True, console=quiet()).fit()
    assert_same_run(out, finished_run)


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
    assert_same_run(out, finished_run)


def test_lines_are_on_the_disk_before_a_checkpoint_that_goes_on_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[int] = []
    fsync = os.fsync

    def noting(handle: int) -> None:
        order.append(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noting)
    Trainer(tiny_config("train.keep=9"), out=tmp_path, console=quiet()).fit()
    _, *later = list_checkpoints(tmp_path / "checkpoints")
    assert len(later) == 3
    lines = (tmp_path / "metrics.jsonl").stat().st_ino
    assert [order[order.index(path.stat().st_ino) - 1] for path in later] == [lines] * 3


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
