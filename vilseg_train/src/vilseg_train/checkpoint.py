"""Checkpoints: one safetensors file each, written whole or not at all, verified when read."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

FORMAT = "vilseg-checkpoint-1"
_NAME = "step-{:07d}.safetensors"
# safetensors itself accepts no longer header; what claims one was never such a file.
_LONGEST_HEADER = 100_000_000


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, read or used; the message says which and why."""


@dataclass(frozen=True)
class Checkpoint:
    """A moment of training: after `step` steps, with `tensors` and JSON-able `facts`.

    Names of tensors are `part/name` ("model/...", "optimizer/...", "rng/..."): see `part`.
    """

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose name begins with `prefix/`, without that beginning."""
        start = f"{prefix}/"
        return {k.removeprefix(start): v for k, v in self.tensors.items() if k.startswith(start)}


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps is in `folder`."""
    return folder / _NAME.format(step)


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int | None) -> Path:
    """Write `checkpoint` into `folder` and drop all but the newest `keep` checkpoints there.

    None keeps all.

    The file appears under its name only when it is complete and on the disk. On any failure the
    temporary file is removed and every earlier checkpoint is as it was; a full disk and its like
    raise `CheckpointError`.
    """
    path = checkpoint_path(folder, checkpoint.step)
    temporary = folder / f".{path.name}.part"
    tensors = {name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}
    facts = json.dumps({"step": checkpoint.step, **checkpoint.facts})
    metadata = {"format": FORMAT, "facts": facts, "sha256": _digest(tensors, facts)}
    blob = save(tensors, metadata=metadata)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(folder)
    except OSError as error:
        earlier = [p for p in list_checkpoints(folder) if p != path]
        rest = f"{earlier[-1].name} is whole" if earlier else "there is none before it"
        raise CheckpointError(
            f"could not save {path}: {error.strerror or error}; {rest}. "
            "Make room (or mend the disk) and go on with --resume"
        ) from error
    finally:
        # This one after a failure, and what a killed process left.
        for part in folder.glob(".step-*.part"):
            part.unlink(missing_ok=True)
    for old in list_checkpoints(folder)[:-keep] if keep else []:
        old.unlink()
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of `folder`, oldest first."""
    return sorted(folder.glob("step-*.safetensors"))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify one checkpoint.

    `CheckpointError` says that the file is missing, truncated, not a vilseg checkpoint, or damaged.
    """
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    metadata = _metadata(blob, path)
    if metadata.get("format") != FORMAT:
        came = f"format {metadata['format']!r}" if "format" in metadata else "no format mark"
        raise CheckpointError(
            f"{path} is not a vilseg checkpoint: expected format {FORMAT!r}, found {came}"
        )
    try:
        tensors = load(blob)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is truncated or damaged: {error}") from error
    facts = metadata.get("facts", "")
    if metadata.get("sha256") != _digest(tensors, facts):
        raise CheckpointError(f"{path} is damaged: its content does not match its checksum")
    values = json.loads(facts)
    return Checkpoint(step=values.pop("step"), tensors=tensors, facts=values)


def newest_checkpoint(folder: Path) -> tuple[Checkpoint, Path, list[CheckpointError]]:
    """The newest checkpoint of `folder` that is whole, its path, and why newer ones were refused.

    Raises `CheckpointError` where there is none.
    """
    refused: list[CheckpointError] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            return read_checkpoint(path), path, refused
        except CheckpointError as error:
            refused.append(error)
    if refused:
        raise refused[0]
    raise CheckpointError(f"no checkpoint in {folder}")


def load_module(module: nn.Module, tensors: Mapping[str, Tensor], *, path: Path) -> None:
    """Copy `tensors` into `module`; the first tensor that does not fit raises `CheckpointError`."""
    for name, own in module.state_dict().items():
        if name not in tensors:
            raise CheckpointError(f"{path} does not fit this model: it has no tensor {name}")
        if tensors[name].shape != own.shape:
            raise CheckpointError(
                f"{path} does not fit this model: {name} has shape {tuple(tensors[name].shape)} "
                f"in the file and {tuple(own.shape)} in the model"
            )
    unknown = sorted(set(tensors) - set(module.state_dict()))
    if unknown:
        raise CheckpointError(
            f"{path} does not fit this model: the model has no tensor {unknown[0]}"
        )
    module.load_state_dict(dict(tensors))


def _metadata(blob: bytes, path: Path) -> dict[str, str]:
    """The string metadata of a safetensors file, told from what is cut short or something else."""
    length = int.from_bytes(blob[:8], "little")
    if len(blob) < 8 or (length <= _LONGEST_HEADER and blob[8:9] in (b"", b"{")):
        if len(blob) < 8 + length or len(blob) < 8:
            raise CheckpointError(
                f"{path} is truncated: {len(blob)} bytes, its header is not whole"
            )
    else:
        raise CheckpointError(f"{path} is not a vilseg checkpoint: it is no safetensors file")
    try:
        header = json.loads(blob[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not a vilseg checkpoint: its safetensors header is unreadable"
        ) from error
    if len(blob) < 8 + length + end:
        raise CheckpointError(
            f"{path} is truncated: {len(blob)} bytes of {8 + length + end}; use an earlier one"
        )
    return dict(metadata)


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    # The rename itself is on the disk only once the folder is.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
