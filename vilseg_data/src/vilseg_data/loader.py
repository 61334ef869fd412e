"""Batches of images and captions, in an order that depends on (seed, epoch) alone.

An epoch is a permutation of the samples with the unreadable ones left out, so what is drawn does
not depend on when a sample turned out to be unreadable, and (epoch, position) is the whole state.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from os import cpu_count
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vilseg_data.captions.sample import Broken, BrokenSampleError, CaptionSource
from vilseg_data.resize import resize_square
from vilseg_data.seeding import generator_for

Progress = Callable[[int, int], None]
_CHUNK = 256


class CaptionBatch(NamedTuple):
    """images: uint8 (b, 3, s, s); tokens: int64 (b, length); keys: the samples' names."""

    images: Tensor
    tokens: Tensor
    keys: tuple[str, ...]
    epoch: int


@runtime_checkable
class WholeSource(Protocol):
    """A source that makes all its images at once, uint8 (n, 3, image_size, image_size)."""

    @property
    def image_size(self) -> int: ...

    def images(self, progress: Progress | None = None) -> Tensor: ...

    def keys(self) -> list[str]: ...


class _Position(NamedTuple):
    epoch: int
    offset: int


class _Read(NamedTuple):
    place: int
    key: str
    image: Tensor


@dataclass(frozen=True)
class _Ahead:
    """The batch that follows `start`, and where the one after it starts."""

    start: _Position
    result: Future[tuple[CaptionBatch, _Position]]


class CaptionLoader:
    """Endless batches from a caption source.

    source: any `CaptionSource`. tokenizer: strings to int64 (n, length). Every image is squashed
    to image_size x image_size. Each epoch shows every readable sample once, with one of its
    captions, drawn from (seed, epoch, sample). With `drop_last` every batch holds exactly
    batch_size samples, else the last of an epoch may hold fewer.

    cache=True decodes everything once into one uint8 tensor (`prepare`, or the first batch);
    cache=False decodes each batch while the one before it is in use. Both give the same batches.
    Unreadable samples are skipped and named in `broken`, together with those that the source found
    missing; ValueError once they are more than the share `max_broken` of all.
    """

    def __init__(
        self,
        source: CaptionSource,
        tokenizer: Callable[[Sequence[str]], Tensor],
        *,
        batch_size: int,
        image_size: int,
        seed: int,
        cache: bool = True,
        drop_last: bool = True,
        max_broken: float = 0.01,
        threads: int | None = None,
    ) -> None:
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("image_size", image_size, 1),
            ("seed", seed, 0),
            ("threads", 1 if threads is None else threads, 1),
        ):
            if value < least:
                raise ValueError(f"{name}: expected at least {least}, came {value}; raise it")
        if not 0.0 <= max_broken <= 1.0:
            raise ValueError(
                f"max_broken: expected a share in [0, 1], came {max_broken}; 0.01 is one in 100"
            )
        self.source = source
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.image_size = image_size
        self.seed = seed
        self.cache = cache
        self.drop_last = drop_last
        self.max_broken = max_broken
        self._unreadable: dict[int, Broken] = {}
        self._images: Tensor | None = None
        self._keys: list[str] = []
        self._position = _Position(0, 0)
        self._threads = min(8, cpu_count() or 1) if threads is None else threads
        self._decoders: ThreadPoolExecutor | None = None
        self._reader: ThreadPoolExecutor | None = None
        self._ahead: _Ahead | None = None
        self._order = lru_cache(maxsize=2)(self._draw_order)
        self._check_enough()
        self._check_broken()

    @property
    def broken(self) -> list[Broken]:
        """What was left out so far and why: missing in the listing, then unreadable."""
        return [*self.source.broken, *(self._unreadable[k] for k in sorted(self._unreadable))]

    def __len__(self) -> int:
        """Batches an epoch, as far as is known which samples are readable."""
        good = len(self.source) - len(self._unreadable)
        return good // self.batch_size if self.drop_last else -(-good // self.batch_size)

    @property
    def epoch(self) -> int:
        """The epoch of the next batch, unless the current one has just run out."""
        return self._position.epoch

    def _check_enough(self) -> None:
        good = len(self.source) - len(self._unreadable)
        if good < (self.batch_size if self.drop_last else 1):
            raise ValueError(
                f"batch_size: expected no more than the readable samples, came "
                f"{self.batch_size} for {good} of {self.source.name}; lower "
                "batch_size, give more samples or set drop_last=False"
            )

    def _check_broken(self) -> None:
        broken = self.broken
        total = len(self.source) + len(self.source.broken)
        if len(broken) > self.max_broken * total:
            named = "; ".join(f"{key}: {reason}" for key, reason in broken[:3])
            raise ValueError(
                f"max_broken: expected at most {self.max_broken:.2%} of the samples to be "
                f"unreadable, came {len(broken)} or more of {total} in {self.source.name}, first "
                f"{named}; mend or remove them, or raise max_broken"
            )

    def prepare(self, progress: Progress | None = None) -> None:
        """Decode every image into memory (cache=True); `progress` is called with (done, total).

        Without cache, or when it is done already, this does nothing.
        """
        if not self.cache or self._images is not None:
            return
        source, total = self.source, len(self.source)
        if isinstance(source, WholeSource) and source.image_size == self.image_size:
            self._keys, self._images = source.keys(), source.images(progress)
            return
        size = self.image_size
        try:
            images = torch.zeros((total, 3, size, size), dtype=torch.uint8)
        except RuntimeError as error:
            raise ValueError(
                f"cache: expected images that fit into memory, came {total} images of {size} x "
                f"{size}, which take {total * 3 * size * size / 1e9:,.0f} GB; set cache=False or "
                "lower image_size"
            ) from error
        keys = [""] * total
        for start in range(0, total, _CHUNK):
            chunk = range(start, min(start + _CHUNK, total))
            for read in self._read(chunk):
                images[read.place] = read.image
                keys[read.place] = read.key
            if progress is not None:
                progress(chunk.stop, total)
        self._keys, self._images = keys, images
        self._shut(self._decoders)
        self._decoders = None
        self._check_enough()

    def _read_one(self, index: int) -> _Read | BrokenSampleError:
        try:
            sample = self.source[index]
        except BrokenSampleError as error:
            return error
        return _Read(index, sample.key, resize_square(sample.image, size=self.image_size))

    def _read(self, indices: Sequence[int]) -> list[_Read]:
        """The readable samples among `indices`, in order; the others are noted as broken."""
        images = self._images
        known = [index for index in indices if index not in self._unreadable]
        if images is not None:
            return [_Read(index, self._keys[index], images[index]) for index in known]
        if self._decoders is None:
            self._decoders = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
        good = []
        for index, result in zip(known, self._decoders.map(self._read_one, known), strict=True):
            if isinstance(result, BrokenSampleError):
                self._unreadable[index] = Broken(result.key, result.reason)
                self._check_broken()
            else:
                good.append(result)
        return good

    def _draw_order(self, epoch: int) -> tuple[list[int], npt.NDArray[np.float64]]:
        count = len(self.source)
        order: list[int] = generator_for(self.seed, epoch, 0).permutation(count).tolist()
        return order, generator_for(self.seed, epoch, 1).random(count)

    def _collect(self, start: _Position) -> tuple[CaptionBatch, _Position]:
        """The batch that follows `start` and the position after it; changes no position."""
        epoch, offset = start
        taken: list[_Read] = []
        while True:
            order, levels = self._order(epoch)
            while len(taken) < self.batch_size and offset < len(order):
                window = order[offset : offset + self.batch_size - len(taken)]
                taken += self._read(window)
                offset += len(window)
            if len(taken) == self.batch_size or (taken and not self.drop_last):
                break
            self._check_enough()
            epoch, offset, taken = epoch + 1, 0, []
        spoken = []
        for index, key, _ in taken:
            captions = self.source.captions(index)
            if not captions:
                raise ValueError(
                    f"source: expected a caption of every sample, came none for {key} of "
                    f"{self.source.name}; list such samples in broken and leave them out"
                )
            spoken.append(captions[int(levels[index] * len(captions))])
        batch = CaptionBatch(
            images=torch.stack([read.image for read in taken]),
            tokens=self.tokenizer(spoken),
            keys=tuple(read.key for read in taken),
            epoch=epoch,
        )
        return batch, _Position(epoch, offset)

    def next_batch(self) -> CaptionBatch:
        """The next batch; epochs follow one another without end."""
        self.prepare()
        if self.cache:
            batch, self._position = self._collect(self._position)
            return batch
        ahead = self._ahead
        if ahead is None or ahead.start != self._position:
            ahead = self._start_reading(self._position)
        self._ahead = None
        batch, self._position = ahead.result.result()
        self._ahead = self._start_reading(self._position)
        return batch

    def _start_reading(self, start: _Position) -> _Ahead:
        if self._reader is None:
            self._reader = ThreadPoolExecutor(1, thread_name_prefix="batch")
        return _Ahead(start, self._reader.submit(self._collect, start))

    def state_dict(self) -> dict[str, int]:
        """The exact position: what `load_state_dict` needs to go on with the next batch."""
        epoch, offset = self._position
        return {"epoch": epoch, "offset": offset, "seed": self.seed, "samples": len(self.source)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on after the batch that `state` was taken after.

        ValueError if the state is not of this loader's seed and source, whose order it means.
        """
        wanted = {"epoch", "offset", "seed", "samples"}
        if set(state) != wanted:
            raise ValueError(
                f"state: expected the keys {sorted(wanted)}, came {sorted(state)}; "
                "pass what state_dict() returned"
            )
        for name, here in (("seed", self.seed), ("samples", len(self.source))):
            if state[name] != here:
                raise ValueError(
                    f"state: expected {name} {here} as in this loader, came {state[name]}; resume "
                    "with the data and the seed of the saved run"
                )
        if state["epoch"] < 0 or not 0 <= state["offset"] <= len(self.source):
            raise ValueError(
                f"state: expected a position in an epoch of {len(self.source)} samples, came epoch "
                f"{state['epoch']}, offset {state['offset']}; pass what state_dict() returned"
            )
        self._position = _Position(state["epoch"], state["offset"])

    @staticmethod
    def _shut(pool: ThreadPoolExecutor | None) -> None:
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """Stop the threads; the loader starts them again if it is used again."""
        self._shut(self._reader)
        self._shut(self._decoders)
        self._reader = self._decoders = self._ahead = None
