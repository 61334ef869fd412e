"""Measure training steps: by part, beside the encoders alone, and their memory."""

import io
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from benchmarks.common import Budget, measure_times, peak_extra_bytes
from benchmarks.schema import Clock, Device
from benchmarks.training_problems import Problem
from benchmarks.training_schema import Caching, EncoderTime, TrainingRow
from vilseg_core import cached_contrastive_step
from vilseg_core.models import ViLSeg
from vilseg_train import RunConfig, Trainer
from vilseg_train.estimate import estimate
from vilseg_train.parallel import Ranks
from vilseg_train.profiling import short
from vilseg_train.spans import ENCODER, TEXT, Spans, watching


def measure(
    problem: Problem, *, device: Device, clock: Clock, budget: Budget, flop_per_s: float
) -> tuple[TrainingRow, Trainer]:
    """A row of the result without `caching` and `scaling`, and the trainer that ran."""
    config = problem.config(device)
    trainer, parts = train(config, steps=problem.steps, clock=clock)
    plan = estimate(config)
    row = TrainingRow(
        name=problem.name,
        overrides=problem.overrides,
        batch=config.train.batch_size,
        parameters=sum(plan.parameters.values()),
        steps=problem.steps,
        parts=parts,
        step_s=sum(parts.values()),
        encoders=encoder_times(trainer, device=device, budget=budget),
        flop=plan.total_work.flop,
        flop_per_s=flop_per_s,
        caching=None,
        scaling=(),
    )
    return row, trainer


def train(
    config: RunConfig, *, steps: int, clock: Clock, ranks: Ranks | None = None
) -> tuple[Trainer, dict[str, float]]:
    """Train one step and `steps` more; the seconds of one of the latter by part."""
    warmup = 1
    with tempfile.TemporaryDirectory() as room:
        trainer = Trainer(
            short(config, warmup + steps),
            out=Path(room) / "run",
            console=Console(file=io.StringIO()),
            ranks=ranks,
        )
        spans = Spans(
            warmup=warmup,
            count=steps,
            device=trainer.device,
            clock=time.perf_counter if clock == "wall" else time.process_time,
        )
        with watching(trainer, spans):
            trainer.fit()
    return trainer, dict(spans.per_step())


def encoder_times(trainer: Trainer, *, device: Device, budget: Budget) -> dict[str, EncoderTime]:
    """Each encoder alone, on a batch of views or texts that are there already."""
    model, config = trainer.model, trainer.config
    batch, side = config.train.batch_size, config.model.image.image_size
    local = config.views.local_size
    images = torch.rand(batch, 3, side, side, device=trainer.device)
    views = torch.rand(batch * config.views.num_local, 3, local, local, device=trainer.device)
    tokens, pooled = _tokens(trainer, batch), _pooled(model)

    def both(encode: Callable[[Tensor], Tensor], rows: Tensor) -> None:
        model.zero_grad(set_to_none=True)
        torch.autograd.backward(encode(rows).sum())

    unseen = torch.no_grad()(pooled)
    taught = config.loss.cluster_gradient == "encoder"
    changed = partial(both, pooled, images) if taught else partial(unseen, images)
    calls: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        ENCODER["global"]: (partial(pooled, images), partial(both, pooled, images)),
        ENCODER["local"]: (partial(pooled, views), partial(both, pooled, views)),
        ENCODER["changed"]: (partial(unseen, images), changed),
        TEXT: (partial(model.encode_text, tokens), partial(both, model.encode_text, tokens)),
    }
    flat = [call for pair in calls.values() for call in pair]
    times = measure_times(flat, device=device, budget=budget)
    pairs = zip(times[::2], times[1::2], strict=True)
    return {
        name: EncoderTime(forward=once, step=whole)
        for name, (once, whole) in zip(calls, pairs, strict=True)
    }


def caching(trainer: Trainer, problem: Problem, *, device: Device) -> Caching:
    """Peak memory of L_cross on `pairs` pairs, at once and `chunk` at a time."""
    model, cross = trainer.model, trainer.objectives.cross
    side = trainer.config.model.image.image_size
    images = torch.rand(problem.pairs, 3, side, side, device=trainer.device)
    tokens, pooled = _tokens(trainer, problem.pairs), _pooled(model)

    def plain() -> None:
        cross(pooled(images), model.encode_text(tokens)).backward()

    def cached() -> None:
        cached_contrastive_step(
            [pooled, model.encode_text], [images, tokens], loss=cross, chunk=problem.chunk
        )

    # Gradients are there before either, so that neither is charged with them.
    plain()
    measured = [peak_extra_bytes(call, device=device) for call in (plain, cached)]
    return Caching(
        batch=problem.pairs,
        chunk=problem.chunk,
        plain_bytes=measured[0],
        cached_bytes=measured[1],
    )


def _pooled(model: ViLSeg) -> Callable[[Tensor], Tensor]:
    return lambda rows: model.encode_image(rows).pooled


def _tokens(trainer: Trainer, count: int) -> Tensor:
    tokenizer = trainer.tokenizer
    draw = partial(torch.randint, low=1, high=tokenizer.vocab_size)
    return draw(size=(count, tokenizer.context_length)).to(trainer.device)
