"""torchrun starts a run again that lost a process, and it goes on from its newest checkpoint."""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from tests.train import ranks
from tests.train.runs import newest
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from vilseg_train import Trainer
from vilseg_train.parallel import was_restarted
from vilseg_train.stop import StopRequest

CONFIG = ("data.cache=false", "train.sample_images=0", "train.retrieval_images=0")


def _die_once(trainer: Trainer) -> None:
    """SIGKILL to rank 1 in step 4 of the first life of the run."""
    inner = trainer._train_step

    def dying(stop: StopRequest) -> int | None:
        if trainer.step == 3 and ranks.is_rank(1) and not was_restarted():
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(stop)

    trainer._train_step = dying  # type: ignore[method-assign]
    with (trainer.out.parent / f"lives-{trainer.ranks.rank}").open("a") as file:
        file.write(f"{trainer.step}\n")


def _launch(out: Path) -> None:
    """What `torchrun --standalone --nproc-per-node 2 --max-restarts 1` does."""
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="run",
        max_restarts=1,
        monitor_interval=0.1,
        start_method="forkserver",
    )
    elastic_launch(launch, ranks.train_rank)(CONFIG, out, False, _die_once)
    sys.exit(0)


def test_a_run_that_lost_a_process_goes_on_by_itself(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    ranks.run(2, ranks.train_rank, CONFIG, whole, False, None)
    ranks.run(1, _launch, out)
    # Both began at step 0, and again at the last checkpoint before step 4.
    for rank in (0, 1):
        assert (tmp_path / f"lives-{rank}").read_text().split() == ["0", "2"]
    first, second = (newest(x) for x in (whole, out))
    assert all(torch.equal(t, second.tensors[name]) for name, t in first.tensors.items())
    assert (out / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2, 4, 6]
