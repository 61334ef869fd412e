"""One step of training: batches in, weights changed, numbers out."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from vilseg_core import cached_contrastive_step
from vilseg_core.models import ViLSeg
from vilseg_data import CaptionBatch
from vilseg_train.config import RunConfig
from vilseg_train.encoders import Encoders, StepViews
from vilseg_train.objectives import Objectives
from vilseg_train.optim import set_learning_rate
from vilseg_train.parallel import Ranks
from vilseg_train.stop import SIGNALS, StopRequest

DTYPES = {"fp32": torch.float32, "bf16": torch.float32, "fp64": torch.float64}


class StepResult(NamedTuple):
    """values: the numbers of the step, None where it was skipped because one was not finite;
    stop: the signal that any rank was asked to stop by."""

    values: dict[str, float] | None
    stop: int | None


class Losses(nn.Module):
    """Everything of a step that joins rows: clustering head, prototypes and the losses."""

    def __init__(self, model: ViLSeg, objectives: Objectives) -> None:
        super().__init__()
        self.clustering_head = model.clustering_head
        self.projection = model.projection
        self.objectives = objectives
        # In a tuple: the encoders are not among its modules.
        self._model = (model,)

    def forward(
        self,
        features: Mapping[str, Tensor],
        *,
        views: StepViews,
        tokens: Tensor,
        step: int,
        total: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch and its parts, from the features of the encoders."""
        (model,) = self._model
        outputs = self.objectives.outputs(features, model=model, views=views, tokens=tokens)
        return self.objectives.loss(outputs, step=step, total=total)


class TrainStep:
    """A step on `train.accumulate` batches: the mean of their losses, one change of the weights.

    Over several processes each batch is joined, by the losses and by DistributedDataParallel.
    With `train.cache_chunk` the encoders run on that many rows of a process at a time (see
    `vilseg_core.caching`), the losses on all rows at once.
    """

    def __init__(
        self,
        model: ViLSeg,
        objectives: Objectives,
        optimizer: torch.optim.Optimizer,
        *,
        config: RunConfig,
        device: torch.device,
        ranks: Ranks,
    ) -> None:
        train = config.train
        self.config, self.device, self.ranks = config, device, ranks
        self.objectives, self.optimizer = objectives, optimizer
        self.dtype = DTYPES[train.precision]
        self._buffers = [*model.buffers(), *objectives.buffers()]
        self._encoders = Encoders(
            model,
            config.loss.asked,
            compiled=train.compile,
            checkpointed=train.checkpoint_activations,
        )
        teaches = config.loss.asked.teaches
        self._encode = self._distributed(self._encoders) if teaches else self._encoders
        self._losses = self._distributed(Losses(model, objectives))

    def run(
        self,
        batches: Sequence[CaptionBatch],
        *,
        step: int,
        stop: StopRequest,
        meanwhile: Callable[[], None] | None = None,
    ) -> StepResult:
        """Step number `step`, from 0.

        stop: what this process was asked. meanwhile: done while the device is at work.
        """
        config, total = self.config, self.config.train.steps
        lr = set_learning_rate(self.optimizer, config.optim, step=step, total=total)
        before = [buffer.clone() for buffer in self._buffers]
        self.optimizer.zero_grad(set_to_none=True)
        generator = generator_of(config.seed, step)
        found = []
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            with nullcontext() if last else self._without_reduction():
                found.append(self._backward(batch, generator, step=step, share=1 / len(batches)))
        measured = _mean(found)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        measured["gradient_norm"] = clip_grad_norm_(parameters, config.optim.clip or math.inf)
        if meanwhile is not None:
            meanwhile()
        values, signal = self._agree(measured, stop.number)
        if all(map(math.isfinite, values.values())):
            self.optimizer.step()
            return StepResult(values | {"lr": lr}, signal)
        # Running statistics have seen the numbers that the weights were spared.
        for buffer, value in zip(self._buffers, before, strict=True):
            buffer.copy_(value)
        return StepResult(None, signal)

    def _backward(
        self, batch: CaptionBatch, generator: Generator, *, step: int, share: float
    ) -> dict[str, Tensor]:
        """Add the gradient of `share` of the loss of a batch; returns the loss and its parts."""
        total = self.config.train.steps
        images = batch.images.to(self.device, non_blocking=True).to(self.dtype).div_(255)
        tokens = batch.tokens.to(self.device, non_blocking=True)
        rows = (batch.first, batch.total)
        views = self.objectives.draw(images, generator=generator, rows=rows, step=step, total=total)
        inputs = self._encoders.rows(views, tokens)
        names = self._encoders.names(inputs)
        parts: dict[str, Tensor] = {}

        def loss_of(*features: Tensor) -> Tensor:
            loss: Tensor
            with self._autocast():
                loss, values = self._losses(
                    dict(zip(names, features, strict=True)),
                    views=views,
                    tokens=tokens,
                    step=step,
                    total=total,
                )
            parts.update({"loss": loss.detach()} | values)
            return loss if share == 1 else loss * share

        chunk = self.config.train.cache_chunk
        if chunk:
            with self._autocast():
                cached_contrastive_step([self._encode], [inputs], loss=loss_of, chunk=chunk)
        else:
            with self._autocast():
                features = self._encode(**inputs)
            torch.autograd.backward(loss_of(*features))
        return parts

    def _agree(
        self, measured: dict[str, Tensor], signal: int | None
    ) -> tuple[dict[str, float], int | None]:
        """The numbers of a step and the signal to stop by, the same on every rank."""
        dtype = torch.promote_types(torch.float32, self.dtype)
        # One message, and one transfer from the device.
        mine = [float(signal == number) for number in SIGNALS]
        values = torch.stack([value.to(dtype) for value in measured.values()])
        if self.ranks.size > 1:
            values = self.ranks.mean(torch.cat([values, values.new_tensor(mine)]))
        numbers: list[float] = values.tolist()
        shares = numbers[len(measured) :] or mine
        stops = [number for number, share in zip(SIGNALS, shares, strict=True) if share]
        return dict(zip(measured, numbers, strict=False)), stops[0] if stops else None

    def _autocast(self) -> torch.autocast:
        enabled = self.config.train.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _distributed(self, module: nn.Module) -> nn.Module:
        if self.ranks.size == 1 or not any(p.requires_grad for p in module.parameters()):
            return module
        # It warns where it looks for unused parameters and finds none.
        module.register_parameter("unused", nn.Parameter(torch.zeros(1, device=self.device)))
        # Statistics are joined by the losses. Newer torch has another name for it.
        known = inspect.signature(DistributedDataParallel).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {name: False}
        # Which parameters a step uses depends on its losses.
        return DistributedDataParallel(
            module,
            process_group=self.ranks.group,
            find_unused_parameters=True,
            **options,
        )

    @contextmanager
    def _without_reduction(self) -> Iterator[None]:
        with ExitStack() as stack:
            for module in (self._encode, self._losses):
                no_sync: Any = getattr(module, "no_sync", nullcontext)
                context: AbstractContextManager[Any] = no_sync()
                stack.enter_context(context)
            yield


def generator_of(seed: int, step: int) -> Generator:
    """Where the views of a step come from: they do not depend on the steps before it."""
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def _mean(found: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    if len(found) == 1:
        return dict(found[0])
    return {name: torch.stack([parts[name] for parts in found]).mean(0) for name in found[0]}
