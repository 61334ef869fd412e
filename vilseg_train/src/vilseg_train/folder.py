"""The folder of a run: who may write into it, and what a resumed run must share with it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from vilseg_eval.files import write_atomically
from vilseg_train.checkpoint import Checkpoint, CheckpointError, newest_checkpoint
from vilseg_train.config import ConfigError, RunConfig, parse_config
from vilseg_train.progress import say

_NAMED_BROKEN = 5


def check_target(out: Path) -> None:
    """Check, before long work, that `out` is a folder or absent."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; give a folder")


def claim_new(out: Path) -> None:
    """Check that a new run may be written to `out`: absent, or without any file in it."""
    check_target(out)
    if out.is_dir() and any(path.is_file() for path in out.rglob("*")):
        raise ConfigError(
            f"--out {out} exists and is not empty; go on with it by --resume, "
            "or give another folder"
        )


def claim_resumed(out: Path) -> tuple[Checkpoint, Path, list[CheckpointError]]:
    """The checkpoint from which the run in `out` goes on, as `newest_checkpoint` gives it."""
    try:
        return newest_checkpoint(out / "checkpoints")
    except CheckpointError as error:
        raise CheckpointError(f"--resume: cannot go on in {out}: {error}") from error


def check_same_config(config: RunConfig, saved: RunConfig, *, out: Path) -> None:
    """Refuse to go on with another configuration; names the first key that differs."""
    difference = config.differing_key(saved)
    if difference is not None:
        key, now, then = difference
        raise ConfigError(
            f"--resume: {key} is {now!r} now and was {then!r} when {out} began; resume with the "
            "configuration it has, or begin a new run with another --out"
        )


def saved_config(out: Path) -> RunConfig:
    """The configuration of the run in `out`, from its newest checkpoint that is whole."""
    return parse_config(claim_resumed(out)[0].facts["config"])


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Write small files of the run folder, by name, all of them whole or none."""
    write_atomically({folder / name: text.encode() for name, text in texts.items()})


def list_broken(
    out: Path, broken: Sequence[tuple[str, str]], *, total: int, console: Console
) -> None:
    """Say how many of `total` samples were left out, and write them all to `broken.jsonl`."""
    lines = (json.dumps({"key": key, "reason": reason}) for key, reason in broken)
    write_texts(out, {"broken.jsonl": "".join(f"{line}\n" for line in lines)})
    named = "; ".join(f"{key}: {reason}" for key, reason in broken[:_NAMED_BROKEN])
    say(
        console,
        f"skipped {len(broken)} of {total} samples, all listed in {out / 'broken.jsonl'}: {named}",
    )
