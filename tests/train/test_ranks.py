"""Several processes train the run of one."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train import ranks
from tests.train.conftest import quiet, tiny_config
from tests.train.runs import newest
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from vilseg_data import BrokenSampleError, CaptionSample, WorldCaptions
from vilseg_train import Trainer
from vilseg_train.checkpoint import list_checkpoints
from vilseg_train.errors import RunEnded
from vilseg_train.parallel import processes
from vilseg_train.stop import StopRequest

# 21 samples in batches of 8: the last of an epoch is of 5, 2 on one rank and 3 on the other.
# AdamW divides by |gradient| + eps: with 1e-8 a rounding of 1e-16 comes out as one of 1e-8. Local
# views of the global size, since timm resamples positions in float32.
UNEVEN = (
    "data.count=21",
    "data.drop_last=false",
    "optim.eps=1e-6",
    "views.local_size=32",
    "train.steps=20",
    "train.sample_images=0",
)
# "none": batches of 4, the last of them of one sample, so that a rank has none.
RUNS = {
    "batch": (
        "model.cluster.normalize=batch",
        "loss.cluster_gradient=encoder",
        "loss.vision_targets=center",
        "views.jitter=0.5",
        "views.brightness=0.4",
    ),
    "l2": ("model.cluster.normalize=l2", "model.cluster.heads=2", "data.cache=false"),
    "none": (
        "model.cluster.normalize=none",
        "loss.cluster_gradient=encoder",
        "train.cache_chunk=2",
        "train.accumulate=2",
    ),
}


def difference(a: Path, b: Path) -> float:
    """The largest between weights and running statistics of two runs."""
    first, second = newest(a), newest(b)
    names = [name for name, t in first.tensors.items() if t.is_floating_point()]
    assert first.step == second.step
    assert set(names) <= set(second.tensors)
    return max(float((first.tensors[n] - second.tensors[n]).abs().max()) for n in names)


@pytest.mark.parametrize("normalize", RUNS)
def test_two_processes_take_the_steps_of_one(normalize: str, tmp_path: Path) -> None:
    config = (*UNEVEN, *RUNS[normalize], "train.precision=fp64")
    ranks.train(config, tmp_path / "one")
    ranks.run(2, ranks.train_rank, config, tmp_path / "two", False, None)
    assert difference(tmp_path / "two", tmp_path / "one") < 1e-10
    first, second = (
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("one", "two")
    )
    assert first[-1] == second[-1]
    for one, two in zip(first[:-1], second[:-1], strict=True):
        assert one == pytest.approx(two, abs=1e-10)


def test_in_single_precision_they_differ_by_rounding(tmp_path: Path) -> None:
    config = (*UNEVEN, *RUNS["batch"], "optim.lr=1e-4", "optim.head_lr=1e-4")
    ranks.train(config, tmp_path / "one")
    ranks.run(2, ranks.train_rank, config, tmp_path / "two", False, None)
    assert difference(tmp_path / "two", tmp_path / "one") < 1e-3


def _stop_one(trainer: Trainer) -> None:
    """SIGTERM to rank 1 alone, in step 3."""
    inner = trainer._train_step

    def stopping(stop: StopRequest) -> int | None:
        if trainer.step == 2 and ranks.is_rank(1):
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(stop)

    trainer._train_step = stopping  # type: ignore[method-assign]


def test_a_signal_to_one_rank_stops_all_and_on_any_number_the_run_goes_on(tmp_path: Path) -> None:
    config = ("model.text.dropout=0.2", "train.precision=fp64", "data.cache=false")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    ranks.run(2, ranks.train_rank, config, whole, False, None)
    codes = ranks.finish(ranks.start(2, ranks.train_rank, config, parts, False, _stop_one))
    assert codes == [143, 143]
    said = [(tmp_path / f"parts.said-{rank}").read_text() for rank in (0, 1)]
    assert "SIGTERM: saved step 3 of 6" in said[0]
    assert said[1] == ""
    assert newest(parts).step == 3
    assert {"rng/cpu", "rng/cpu.1"} <= newest(parts).tensors.keys()
    assert not torch.equal(newest(parts).tensors["rng/cpu"], newest(parts).tensors["rng/cpu.1"])
    ranks.run(2, ranks.train_rank, config, parts, True, None)
    assert (parts / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert difference(parts, whole) == 0.0


def test_a_run_of_two_goes_on_as_one(tmp_path: Path) -> None:
    config = ("train.precision=fp64", *UNEVEN)
    ranks.train(config, tmp_path / "one")
    out = tmp_path / "two"
    assert (
        ranks.finish(ranks.start(2, ranks.train_rank, config, out, False, _stop_one)) == [143] * 2
    )
    ranks.train(config, out, resume=True)
    assert difference(out, tmp_path / "one") < 1e-10


class Broken(WorldCaptions):
    """The world with images that cannot be read, each on the rank that meets it."""

    images = None  # type: ignore[assignment]

    def __getitem__(self, index: int) -> CaptionSample:
        if index % 7 == 3:
            raise BrokenSampleError(f"train-{index}", "truncated file")
        return super().__getitem__(index)


def _train_broken(out: Path, share: float) -> None:
    config = tiny_config(
        "data.cache=false",
        f"data.max_broken={share}",
        "train.precision=fp64",
        "optim.eps=1e-6",
        "views.local_size=32",
        "train.sample_images=0",
    )
    source = Broken(count=20, image_size=32)
    with processes() as group:
        Trainer(config, out=out, source=source, console=quiet(), ranks=group).fit()


def _train_broken_rank(out: Path, share: float) -> None:
    try:
        _train_broken(out, share)
    except (ValueError, RunEnded) as error:
        rank = os.environ["RANK"]
        out.with_name(f"{out.name}.said-{rank}").write_text(str(error))
        raise SystemExit(2) from error


def test_what_is_broken_on_one_rank_is_left_out_and_counted_on_all(tmp_path: Path) -> None:
    _train_broken(tmp_path / "one", 0.2)
    ranks.run(2, _train_broken_rank, tmp_path / "two", 0.2)
    assert difference(tmp_path / "two", tmp_path / "one") < 1e-10
    listed = [set((tmp_path / x / "broken.jsonl").read_text().splitlines()) for x in ("one", "two")]
    assert listed[0] == listed[1]
    assert len(listed[0]) == 3
    # Three of 20 are above 10 %, wherever they were met; none of the ranks goes on alone.
    codes = ranks.finish(ranks.start(2, _train_broken_rank, tmp_path / "over", 0.1))
    assert codes == [2, 2]
    # One is told by the other and says nothing itself, unless both find the third at once.
    said = {(tmp_path / f"over.said-{rank}").read_text() for rank in (0, 1)} - {""}
    assert len(said) == 1
    assert "max_broken: expected at most 10.00%" in said.pop()


def _note_reductions(trainer: Trainer) -> None:
    """Write down each message of encoder gradients, which for a model this small is one a step."""

    def note() -> int:
        with (trainer.out.parent / f"reductions-{trainer.ranks.rank}").open("a") as file:
            return file.write(f"{trainer.step}\n")

    encode = trainer.stepper._encode
    assert isinstance(encode, DistributedDataParallel)
    encode.register_comm_hook(
        None, lambda group, bucket: (note(), allreduce_hook(group, bucket))[1]
    )


def test_gradients_travel_once_a_step_however_many_batches_and_chunks_it_has(
    tmp_path: Path,
) -> None:
    config = ("train.accumulate=2", "train.cache_chunk=1", "train.steps=2")
    ranks.run(2, ranks.train_rank, config, tmp_path / "run", False, _note_reductions)
    for rank in (0, 1):
        assert (tmp_path / f"reductions-{rank}").read_text().split() == ["0", "1"]


def _fail(trainer: Trainer) -> None:
    inner = trainer.loader.next_batch

    def failing() -> Any:
        if trainer.step == 3 and ranks.is_rank(1):
            raise ValueError("archive: expected a zip, came a directory; give another")
        return inner()

    trainer.loader.next_batch = failing  # type: ignore[method-assign]


def test_what_fails_on_one_rank_ends_all_with_its_reason(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert ranks.finish(ranks.start(2, ranks.train_rank, (), out, False, _fail)) == [2, 2]
    assert (tmp_path / "run.said-0").read_text() == ""
    assert (tmp_path / "run.said-1").read_text().startswith("archive: expected a zip")
    assert newest(out).step == 2


def _spoil(trainer: Trainer) -> None:
    """A loss that is not finite on rank 1 alone, in steps 3 and 4, once."""
    inner = trainer.objectives.loss

    def spoiled(*args: Any, step: int, **kwargs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss, parts = inner(*args, step=step, **kwargs)
        bad = ranks.is_rank(1) and step in (2, 3) and trainer.meter.rollbacks == 0
        return (loss * float("nan"), parts) if bad else (loss, parts)

    trainer.objectives.loss = spoiled  # type: ignore[method-assign]


def test_ranks_skip_and_go_back_together(tmp_path: Path) -> None:
    out = tmp_path / "run"
    ranks.run(2, ranks.train_rank, ("train.max_nonfinite=2",), out, False, _spoil)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 6]
    assert [(line["skipped"], line.get("rollbacks")) for line in lines[:3]] == [
        (0, None),
        (2, 1),
        (2, 1),
    ]
    assert all(torch.isfinite(t).all() for t in newest(out).part("model").values())


def test_a_damaged_newest_checkpoint_is_passed_over_by_all(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    ranks.run(2, ranks.train_rank, (), whole, False, None)
    ranks.run(2, ranks.train_rank, (), out, False, None)
    last = list_checkpoints(out / "checkpoints")[-1]
    last.write_bytes(last.read_bytes()[:-100])
    ranks.run(2, ranks.train_rank, (), out, True, None)
    assert difference(out, whole) == 0.0
    assert (out / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = ("train.batch_size=9",)
    assert ranks.finish(ranks.start(2, ranks.train_rank, config, out, False, None)) == [2, 2]
    said = [(tmp_path / f"run.said-{rank}").read_text() for rank in (0, 1)]
    assert any("train.batch_size: expected a multiple of 2 processes" in text for text in said)
    assert not out.exists()
