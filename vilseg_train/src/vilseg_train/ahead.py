"""Batches on the device, the next one on its way while the one before it is in use."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch

from vilseg_data import CaptionBatch


class Source(Protocol):
    """What gives batches and knows where it stands: the loaders of vilseg_data."""

    def next_batch(self) -> CaptionBatch: ...

    def state_dict(self) -> dict[str, int]: ...


class _Held(NamedTuple):
    batches: list[CaptionBatch]
    position: dict[str, int]


class Ahead:
    """The batches of a step, `count` of them, from a loader.

    `fetch` reads those of the next step: from pinned memory, where they go to a GPU, so that the
    copy runs beside the step under way. `position` is that of the batches `take` gave, whatever was
    fetched since.
    """

    def __init__(self, loader: Source, *, count: int, device: torch.device) -> None:
        self.position: Mapping[str, int] = loader.state_dict()
        self._loader, self._count, self._device = loader, count, device
        self._next: _Held | None = None
        cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if cuda else None  # type: ignore[no-untyped-call]

    def take(self) -> list[CaptionBatch]:
        """The batches of the next step."""
        held = self._next or self._read()
        self._next, self.position = None, held.position
        if self._stream is not None:
            using = torch.cuda.current_stream(self._device)
            using.wait_stream(self._stream)
            for batch in held.batches:
                # Copied on one stream, used on another: not to be freed before that has run.
                batch.images.record_stream(using)
                batch.tokens.record_stream(using)
        return held.batches

    def fetch(self) -> None:
        """Read the batches that `take` will give next; nothing where they are here already."""
        self._next = self._next or self._read()

    def _read(self) -> _Held:
        batches = [self._move(self._loader.next_batch()) for _ in range(self._count)]
        return _Held(batches, self._loader.state_dict())

    def _move(self, batch: CaptionBatch) -> CaptionBatch:
        if self._stream is None:
            return batch
        with torch.cuda.stream(self._stream):
            return batch._replace(
                images=batch.images.pin_memory().to(self._device, non_blocking=True),
                tokens=batch.tokens.pin_memory().to(self._device, non_blocking=True),
            )
