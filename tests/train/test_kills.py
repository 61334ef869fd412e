"""Killed without a word at random moments, a run ends in the bits of one that never was."""

import random
import signal
from pathlib import Path

import pytest
from tests.train import ranks
from tests.train.runs import assert_same_run

from vilseg_train.checkpoint import list_checkpoints

# Batches decoded by threads, lines of the record that span checkpoints, a stop in each part of the
# losses' schedule, every random state in use.
CONFIG = (
    "data.cache=false",
    "model.text.dropout=0.2",
    "loss.vision_targets=center",
    "views.jitter=0.5",
    "train.steps=14",
    "train.log_every=3",
    "train.sample_every=7",
    "train.retrieval_images=2",
)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "kills"), [(1, 20), (2, 20)])
def test_killed_and_resumed_equals_never_killed(count: int, kills: int, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    ranks.run(count, ranks.train_rank, CONFIG, whole, False, None)
    draw = random.Random(1000 * count + kills)
    killed, runs = 0, 0
    while killed < kills:
        out = tmp_path / f"run-{runs}"
        runs += 1
        codes: list[int | None] = []
        while codes != [0] * count:
            # One of the two alone, or both at once, as when a machine goes down.
            victim = draw.choice([None, 0, 1]) if count == 2 else None
            seed = draw.randrange(10**6)
            kill = ranks.Kill(seed, rank=victim) if killed < kills else None
            resume = bool(list_checkpoints(out / "checkpoints"))
            codes = ranks.finish(ranks.start(count, ranks.train_rank, CONFIG, out, resume, kill))
            assert -signal.SIGKILL in codes or codes == [0] * count, codes
            killed += -signal.SIGKILL in codes
        assert_same_run(out, whole)
        assert list(out.rglob(".*.part")) == []
