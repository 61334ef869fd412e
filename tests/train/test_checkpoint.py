import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from vilseg_train.checkpoint import (
    Checkpoint,
    CheckpointError,
    list_checkpoints,
    load_module,
    newest_checkpoint,
    read_checkpoint,
    save_checkpoint,
)

# What turns a blank into another of JSON's blanks.
BLANKS = {ord(" ") ^ ord(c) for c in "\t\n\r"}


def _checkpoint(step: int = 3) -> Checkpoint:
    torch.manual_seed(step)
    tensors = {
        "model/weight": torch.randn(4, 3),
        "model/half": torch.randn(5).bfloat16(),
        "optimizer/step": torch.tensor(7.0),
        "rng/cpu": torch.get_rng_state(),
        "empty": torch.zeros(0, 2),
    }
    return Checkpoint(step, tensors, {"config": {"a": [1, None]}, "share": 0.1 + 0.2})


def _same(a: Checkpoint, b: Checkpoint) -> bool:
    return (
        (a.step, a.facts) == (b.step, b.facts)
        and a.tensors.keys() == b.tensors.keys()
        and all(
            torch.equal(t, b.tensors[name]) and t.dtype == b.tensors[name].dtype
            for name, t in a.tensors.items()
        )
    )


def _files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_reads_back_as_saved(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, _checkpoint(), keep=1)
    assert path.name == "step-0000003.safetensors"
    assert _same(read_checkpoint(path), _checkpoint())
    assert read_checkpoint(path).part("model").keys() == {"weight", "half"}


def test_the_newest_are_kept_and_leftovers_removed(tmp_path: Path) -> None:
    (tmp_path / ".step-0000001.safetensors.part").write_bytes(b"of a killed process")
    for step in (1, 2, 10, 9):
        save_checkpoint(tmp_path, _checkpoint(step), keep=2)
    assert [p.name for p in list_checkpoints(tmp_path)] == [
        "step-0000009.safetensors",
        "step-0000010.safetensors",
    ]
    assert len(list(tmp_path.iterdir())) == 2


def _full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    save_checkpoint(tmp_path, _checkpoint(1), keep=1)
    before = _files(tmp_path)
    monkeypatch.setattr(os, broken, _full)
    with pytest.raises(
        CheckpointError,
        match=r"could not save .*step-0000002.safetensors: No space left on device; "
        r"step-0000001.safetensors is whole",
    ):
        save_checkpoint(tmp_path, _checkpoint(2), keep=1)
    assert _files(tmp_path) == before


@settings(max_examples=40)
@given(share=st.floats(0, 0.999))
def test_a_disk_that_fills_in_the_middle_leaves_what_was_there(
    share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("full")
    first = save_checkpoint(folder, _checkpoint(1), keep=1)
    before = _files(folder)
    room = int(share * first.stat().st_size)
    original: Callable[..., Any] = Path.open

    class Limited:
        """A file on a disk with `room` bytes left."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> "Limited":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> None:
            self.file.write(data[:room])
            self.file.flush()
            _full()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", lambda self, *a, **k: Limited(original(self, *a, **k)))
        with pytest.raises(CheckpointError, match="No space left on device"):
            save_checkpoint(folder, _checkpoint(2), keep=1)
    assert _files(folder) == before


def test_an_interrupted_save_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, _checkpoint(), keep=1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"could not save .*; there is none before it"):
        save_checkpoint(tmp_path / "file" / "checkpoints", _checkpoint(), keep=1)


@settings(max_examples=40)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(
    share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = save_checkpoint(tmp_path_factory.mktemp("cut"), _checkpoint(), keep=1)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"step-0000003.safetensors is truncated: \d+ bytes"):
        read_checkpoint(path)


@settings(max_examples=40)
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_is_refused(
    position: float, flip: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = save_checkpoint(tmp_path_factory.mktemp("flip"), _checkpoint(), keep=1)
    content = bytearray(path.read_bytes())
    at = int(position * len(content))
    # The header is padded with blanks, which mean nothing.
    assume(content[at] != ord(" ") or flip not in BLANKS)
    content[at] ^= flip
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"step-0000003\.safetensors is "):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [b"PK\x03\x04" + bytes(100), b"\x89PNG\r\n\x1a\n" + bytes(100), b"x" * 64, b"{}" * 40],
)
def test_other_files_are_not_checkpoints(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "step-0000001.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a vilseg checkpoint"):
        read_checkpoint(path)


def test_other_safetensors_are_not_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"is not a vilseg checkpoint: .*found format 'pt'"):
        read_checkpoint(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="found no format mark"):
        read_checkpoint(path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*none: No such file"):
        read_checkpoint(tmp_path / "none")


def test_the_newest_that_is_whole_is_found(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"no checkpoint in {tmp_path}"):
        newest_checkpoint(tmp_path)
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, _checkpoint(step), keep=3)
    last = list_checkpoints(tmp_path)[-1]
    last.write_bytes(last.read_bytes()[:-1])
    checkpoint, path, refused = newest_checkpoint(tmp_path)
    assert (checkpoint.step, path.name) == (2, "step-0000002.safetensors")
    assert [str(error).partition(" is ")[0] for error in refused] == [str(last)]
    for path in list_checkpoints(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"step-0000003.safetensors is truncated"):
        newest_checkpoint(tmp_path)


def test_a_module_of_another_shape_names_the_tensor(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    tensors = nn.Linear(3, 2).state_dict()
    with pytest.raises(
        CheckpointError,
        match=r"c.safetensors does not fit this model: weight has shape \(2, 3\) in the file and "
        r"\(2, 4\) in the model",
    ):
        load_module(nn.Linear(4, 2), tensors, path=path)
    with pytest.raises(CheckpointError, match="it has no tensor bias"):
        load_module(nn.Linear(3, 2), {"weight": tensors["weight"]}, path=path)
    with pytest.raises(CheckpointError, match="the model has no tensor bias"):
        load_module(nn.Linear(3, 2, bias=False), tensors, path=path)
    module = nn.Linear(3, 2)
    load_module(module, tensors, path=path)
    assert torch.equal(module.weight, tensors["weight"])
