"""Killed without a word at twenty moments, a run ends in the bits of one that never was."""

import random
from pathlib import Path

import pytest
import torch
from tests.train import ranks

from vilseg_train.checkpoint import list_checkpoints, read_checkpoint

# Loader threads, lines that span stops, and a stop in each part of the losses' schedule.
CONFIG = (
    "data.cache=false",
    "model.text.dropout=0.2",
    "loss.vision_targets=center",
    "train.steps=14",
    "train.log_every=3",
    "train.sample_images=0",
    "train.retrieval_images=2",
)


def same_run(a: Path, b: Path) -> bool:
    first, second = (read_checkpoint(list_checkpoints(x / "checkpoints")[-1]) for x in (a, b))
    names = first.tensors.keys() == second.tensors.keys()
    return (
        names
        and all(torch.equal(t, second.tensors[name]) for name, t in first.tensors.items())
        and (first.step, first.facts) == (second.step, second.facts)
        and (a / "metrics.jsonl").read_bytes() == (b / "metrics.jsonl").read_bytes()
        and (a / "retrieval.json").read_bytes() == (b / "retrieval.json").read_bytes()
    )


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_killed_ten_times_equals_never_killed(count: int, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    ranks.run(count, ranks.train_rank, CONFIG, whole, False, None)
    draw = random.Random(count)
    kills, runs = 0, 0
    while kills < 10:
        out = tmp_path / f"run-{runs}"
        runs += 1
        done = False
        while not done:
            # One of the two alone, or both at once, as when a machine goes down.
            victim = draw.choice([None, 0, 1]) if count == 2 else None
            kill = ranks.Kill(draw.randrange(10**6), rank=victim) if kills < 10 else None
            resume = bool(list_checkpoints(out / "checkpoints"))
            codes = ranks.finish(ranks.start(count, ranks.train_rank, CONFIG, out, resume, kill))
            done = codes == [0] * count
            kills += -9 in codes
        assert same_run(out, whole)
    assert not list(tmp_path.glob("run-*/checkpoints/.*.part"))
