"""Where the time of training steps goes, measured from outside: no part of the trainer knows of it.

Modules are watched by torch's forward hooks, the optimiser by its step hooks; batches, views and
the backward pass by a wrapper while the measurement lasts.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.profiler import record_function

from vilseg_train.trainer import Trainer

DATA, VIEWS, TEXT, BACKWARD, OPTIMISER, REST = (
    "data", "views", "text encoder", "backward", "optimiser", "rest",
)  # fmt: skip
ENCODER = {
    "global": "image encoder, global view",
    "local": "image encoder, local views",
    "changed": "image encoder, changed view",
}
LOSSES = {"cross": "L_cross", "vision": "L_vision", "cluster": "L_cluster", "extra": "own losses"}


class Spans:
    """Seconds by part of the steps that were measured; a part inside another is counted once.

    Attributes:
        seconds: part -> seconds of all measured steps together; they add up to their time.
        steps: how many were measured.

    Args:
        warmup: steps that are run and not measured.
        device: waited for at each border, so that a part has its own time.
        clock: gives seconds.
        at_start, at_end: called when measuring begins and after the last of `count` steps.
    """

    def __init__(
        self,
        *,
        warmup: int,
        count: int,
        device: torch.device,
        clock: Callable[[], float] = time.perf_counter,
        at_start: Callable[[], None] = lambda: None,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.seconds: dict[str, float] = {}
        self.steps = -warmup
        self.count = count
        self._device = device
        self._callbacks = {0: at_start, count: at_end}
        self._stack: list[tuple[str, Any]] = []
        self._clock = clock
        self._since = clock()
        self._full_views = 0

    def begin(self, part: str) -> None:
        """From here on time is that of `part`, until `end`."""
        self._account()
        mark = record_function(part)
        mark.__enter__()  # type: ignore[no-untyped-call]
        self._stack.append((part, mark))

    def end(self) -> None:
        """The part that began last is over."""
        self._account()
        _, mark = self._stack.pop()
        mark.__exit__(None, None, None)

    def step_done(self) -> None:
        """A step is over: the optimiser has moved the weights."""
        self._account()
        self.steps += 1
        self._full_views = 0
        self._callbacks.get(self.steps, lambda: None)()
        self._since = self._clock()

    def view_of(self, side: int, *, local_size: int) -> str:
        """Which view an image encoder sees; of two of full size in a step, the second changed."""
        if side == local_size:
            return ENCODER["local"]
        self._full_views += 1
        return ENCODER["global" if self._full_views == 1 else "changed"]

    def _account(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = self._clock()
        if 0 <= self.steps < self.count:
            part = self._stack[-1][0] if self._stack else REST
            self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now

    def per_step(self) -> Mapping[str, float]:
        """Seconds a step by part, the largest first."""
        shares = {part: value / self.count for part, value in self.seconds.items()}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


@contextmanager
def watching(trainer: Trainer, spans: Spans) -> Iterator[None]:
    """Measure the steps of `trainer` while entered."""
    objectives, local = trainer.objectives, trainer.config.views.local_size
    model = trainer.model
    with ExitStack() as stack:
        for module, name in (
            (model.image_encoder, lambda args: spans.view_of(args[0].shape[-1], local_size=local)),
            (model.text_encoder, lambda _: TEXT),
            *((getattr(objectives, loss), _always(name)) for loss, name in LOSSES.items()),
        ):
            _watch(module, spans, name, stack=stack)
        stack.enter_context(_wrapped(trainer.loader, "next_batch", spans, part=DATA))
        stack.enter_context(_wrapped(objectives, "multicrop", spans, part=VIEWS))
        stack.enter_context(_wrapped(type(objectives.augmentation), "apply", spans, part=VIEWS))
        stack.enter_context(_wrapped(torch.autograd, "backward", spans, part=BACKWARD))
        before = trainer.optimizer.register_step_pre_hook(lambda *_: spans.begin(OPTIMISER))
        after = trainer.optimizer.register_step_post_hook(lambda *_: _optimised(spans))
        stack.callback(before.remove)
        stack.callback(after.remove)
        yield


def _always(name: str) -> Callable[[Any], str]:
    return lambda _: name


def _optimised(spans: Spans) -> None:
    spans.end()
    spans.step_done()


def _watch(
    module: nn.Module, spans: Spans, name: Callable[[Any], str], *, stack: ExitStack
) -> None:
    before = module.register_forward_pre_hook(lambda _, args: spans.begin(name(args)))
    after = module.register_forward_hook(lambda *_: spans.end(), always_call=True)
    stack.callback(before.remove)
    stack.callback(after.remove)


@contextmanager
def _wrapped(owner: Any, name: str, spans: Spans, *, part: str) -> Iterator[None]:
    original = getattr(owner, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        spans.begin(part)
        try:
            return original(*args, **kwargs)
        finally:
            spans.end()

    own = name in vars(owner)
    setattr(owner, name, timed)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)
