"""The folder of a run: who may write into it, and what a resumed run must share with it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from vilseg_data.files import UNFINISHED
from vilseg_eval.files import write_atomically
from vilseg_train.checkpoint import (
    Checkpoint,
    CheckpointError,
    list_checkpoints,
    newest_checkpoint,
)
from vilseg_train.config import ConfigError, RunConfig, parse_config
from vilseg_train.parallel import Ranks, was_restarted
from vilseg_train.progress import say

_NAMED_BROKEN = 5
# What may change when a run goes on: where things are, how often something is written, and what is
# the same mathematics in another order.
MAY_CHANGE = frozenset(
    {
        "data.cache",
        "data.max_broken",
        "data.root",
        "data.shards",
        "data.table",
        "self_train.checkpoint_every",
        "self_train.log_every",
        "train.cache_chunk",
        "train.checkpoint_activations",
        "train.checkpoint_every",
        "train.compile",
        "train.device",
        "train.keep",
        "train.log_every",
        "train.max_nonfinite",
        "train.max_rollbacks",
        "train.processes",
        "train.retrieval_images",
        "train.sample_every",
        "train.sample_images",
        "train.threads",
    }
)


def check_target(out: Path) -> None:
    """Check, before long work, that `out` is a folder or absent."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; give a folder")


def check_file_target(out: Path) -> None:
    """Check, before long work, that `out` can be a file: it is none's folder."""
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; give the name of a file in it")


def claim_new(out: Path) -> None:
    """Check that a new run may be written to `out`: absent, or without any file in it.

    What a process that was killed in its first save has left is deleted.
    """
    check_target(out)
    if out.is_dir() and any(p.is_file() and p.suffix != ".part" for p in out.rglob("*")):
        raise ConfigError(
            f"--out {out} exists and is not empty; go on with it by --resume, "
            "or give another folder"
        )
    _clear_unfinished(out)


def claim_resumed(out: Path) -> tuple[Checkpoint, Path, list[CheckpointError]]:
    """The checkpoint from which the run in `out` goes on, as `newest_checkpoint` gives it.

    What a killed process has left half written is deleted.
    """
    try:
        found = newest_checkpoint(out / "checkpoints")
    except CheckpointError as error:
        raise CheckpointError(f"--resume: cannot go on in {out}: {error}") from error
    _clear_unfinished(out)
    return found


def _clear_unfinished(out: Path) -> None:
    for folder in (out, out / "checkpoints", out / "samples"):
        for part in folder.glob(UNFINISHED):
            part.unlink(missing_ok=True)


def claim(out: Path, *, resume: bool, ranks: Ranks, console: Console) -> Checkpoint | None:
    """The checkpoint from which the run in `out` goes on, on every rank; None for a new run.

    Rank 0 alone looks into the folder. Where torchrun started the processes again, a run goes on.
    """
    found = None
    if ranks.leads:
        if resume or (was_restarted() and list_checkpoints(out / "checkpoints")):
            found, path, refused = claim_resumed(out)
            for error in refused:
                say(console, f"warning: {error}; going on from {path.name}")
            check_same_tokenizer(out, found.facts["tokenizer"])
        else:
            claim_new(out)
    if not ranks.from_leader(lambda: found is not None):
        return None
    return ranks.checkpoint_of_leader(found)


def check_same_config(config: RunConfig, saved: RunConfig, *, out: Path) -> None:
    """Refuse to go on with another configuration, but for keys that `MAY_CHANGE`; names the first
    key that differs."""
    difference = config.differing_key(saved, but=MAY_CHANGE)
    if difference is not None:
        key, now, then = difference
        raise ConfigError(
            f"--resume: {key} is {now!r} now and was {then!r} when {out} began; resume with the "
            "configuration it has, or begin a new run with another --out"
        )


def check_same_tokenizer(out: Path, tokenizer: str) -> None:
    """Refuse to go on where `tokenizer.json` is not the tokenizer of the checkpoint."""
    path = out / "tokenizer.json"
    if path.is_file() and path.read_text("utf-8") != tokenizer:
        raise ConfigError(
            f"--resume: expected in {path} the tokenizer that the checkpoint was trained with, "
            "came another; its numbers mean other words. Delete the file, which is written again "
            "from the checkpoint, or begin a new run with another --out"
        )


def saved_config(out: Path) -> RunConfig:
    """The configuration of the run in `out`, from its newest checkpoint that is whole."""
    return parse_config(claim_resumed(out)[0].facts["config"])


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Write small files of the run folder, by name, all of them whole or none."""
    write_atomically({folder / name: text.encode() for name, text in texts.items()})


def list_broken(
    out: Path, broken: Sequence[tuple[str, str]], *, total: int | None, console: Console
) -> None:
    """Add what was left out to `broken.jsonl` and say how many of `total` samples that makes.

    What the file has already, also from before a run was resumed, is kept and not said again.
    """
    path = out / "broken.jsonl"
    old = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    entries = {
        json.dumps({"key": key, "reason": reason}): f"{key}: {reason}" for key, reason in broken
    }
    new = [line for line in entries if line not in set(old)]
    if not new:
        return
    write_texts(out, {path.name: "".join(f"{line}\n" for line in [*old, *new])})
    named = "; ".join(entries[line] for line in new[:_NAMED_BROKEN])
    count = len(old) + len(new)
    of = f"{count} so far" if total is None else f"{count} of {total} samples"
    say(console, f"skipped {of}, all listed in {path}: {named}")
