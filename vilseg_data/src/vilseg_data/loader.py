"""Batches of images and captions, in an order that depends on (seed, epoch) alone.

An epoch is a permutation of the samples with the unreadable ones left out, so what is drawn does
not depend on when a sample turned out to be unreadable, and (epoch, position) is the whole state.
Several ranks follow the same order, and each makes its own rows of every batch.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from os import cpu_count
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vilseg_data.batch import CaptionBatch, Share
from vilseg_data.captions.sample import Broken, CaptionSource
from vilseg_data.reading import Failed, Progress, Read, SampleReader
from vilseg_data.seeding import generator_for


class _Position(NamedTuple):
    epoch: int
    offset: int


class _Plan(NamedTuple):
    """The samples of a joined batch, were all of them readable, and where the next one starts."""

    indices: list[int]
    epoch: int
    after: _Position


class _Attempt(NamedTuple):
    """What this rank read for a plan, and its batch unless some of it is unreadable."""

    plan: _Plan
    reads: dict[int, Read]
    failed: Failed
    batch: CaptionBatch | None


@dataclass(frozen=True)
class _Ahead:
    """The attempt at the batch that follows `start`."""

    start: _Position
    result: Future[_Attempt]


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

    Of `world_size` ranks each has its own loader and gets its `rank`-th part of every batch of
    batch_size: the parts differ by one sample at most, and may be empty in the last batch of an
    epoch. Without cache a rank decodes its own part alone, so that ranks must tell one another what
    is unreadable: by `share`, which each calls once a batch, in step with the others.
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
        rank: int = 0,
        world_size: int = 1,
        share: Share | None = None,
    ) -> None:
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("image_size", image_size, 1),
            ("seed", seed, 0),
            ("world_size", world_size, 1),
            ("threads", 1 if threads is None else threads, 1),
        ):
            if value < least:
                raise ValueError(f"{name}: expected at least {least}, came {value}; raise it")
        if not 0.0 <= max_broken <= 1.0:
            raise ValueError(
                f"max_broken: expected a share in [0, 1], came {max_broken}; 0.01 is one in 100"
            )
        if not 0 <= rank < world_size:
            raise ValueError(f"rank: expected 0 to {world_size - 1}, came {rank}; pass its number")
        if world_size > 1 and not cache and share is None:
            raise ValueError(
                f"share: expected a function for {world_size} ranks without cache, came none; pass "
                "what gathers a list over the ranks, or set cache=True"
            )
        self.source = source
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.image_size = image_size
        self.seed = seed
        self.cache = cache
        self.drop_last = drop_last
        self.max_broken = max_broken
        self._rank, self._world_size, self._share = rank, world_size, share
        self._unreadable: dict[int, Broken] = {}
        self._position = _Position(0, 0)
        self._reader = SampleReader(
            source,
            image_size=image_size,
            threads=threads or min(8, cpu_count() or 1),
        )
        self._thread: ThreadPoolExecutor | None = None
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
        if not self.cache or self._reader.keeps_all:
            return
        for failed in self._reader.keep_all(progress):
            self._note(failed)
        self._check_enough()

    def _note(self, failed: Failed) -> None:
        for index, broken in failed:
            self._unreadable[index] = broken
            self._check_broken()

    def _draw_order(self, epoch: int) -> tuple[list[int], npt.NDArray[np.float64]]:
        count = len(self.source)
        order: list[int] = generator_for(self.seed, epoch, 0).permutation(count).tolist()
        return order, generator_for(self.seed, epoch, 1).random(count)

    def _plan(self, start: _Position) -> _Plan:
        """The batch that follows `start`, as far as is known which samples are readable."""
        epoch, offset = start
        while True:
            order, _ = self._order(epoch)
            indices: list[int] = []
            while len(indices) < self.batch_size and offset < len(order):
                if order[offset] not in self._unreadable:
                    indices.append(order[offset])
                offset += 1
            if len(indices) == self.batch_size or (indices and not self.drop_last):
                return _Plan(indices, epoch, _Position(epoch, offset))
            self._check_enough()
            epoch, offset = epoch + 1, 0

    def _attempt(self, start: _Position, *, kept: Mapping[int, Read]) -> _Attempt:
        """Read this rank's part of the batch that follows `start`, but for what is `kept`."""
        plan = self._plan(start)
        total = len(plan.indices)
        first, end = (total * rank // self._world_size for rank in (self._rank, self._rank + 1))
        own = plan.indices[first:end]
        fresh, failed = self._reader.read([index for index in own if index not in kept])
        reads = {**kept, **fresh}
        if failed:
            return _Attempt(plan, reads, failed, None)
        empty = torch.empty((0, 3, self.image_size, self.image_size), dtype=torch.uint8)
        # A rank without rows still says how wide its tokens would be.
        spoken = [self._caption(i, epoch=plan.epoch) for i in own or plan.indices[:1]]
        batch = CaptionBatch(
            images=torch.stack([reads[i].image for i in own]) if own else empty,
            tokens=self.tokenizer(spoken)[: len(own)],
            keys=tuple(reads[i].key for i in own),
            epoch=plan.epoch,
            first=first,
            total=total,
        )
        return _Attempt(plan, reads, failed, batch)

    def _caption(self, index: int, *, epoch: int) -> str:
        captions = self.source.captions(index)
        if not captions:
            raise ValueError(
                f"source: expected a caption of every sample, came none for "
                f"{self.source[index].key} of {self.source.name}; list such samples in broken and "
                "leave them out"
            )
        return captions[int(self._order(epoch)[1][index] * len(captions))]

    def next_batch(self) -> CaptionBatch:
        """The next batch; epochs follow one another without end."""
        self.prepare()
        start = self._position
        if self.cache:
            attempt = self._attempt(start, kept={})
        else:
            ahead = self._ahead
            self._ahead = None
            if ahead is None or ahead.start != start:
                ahead = self._start_reading(start)
            attempt = ahead.result.result()
            while failed := self._everyones(attempt.failed):
                self._note(failed)
                attempt = self._attempt(start, kept=attempt.reads)
        assert attempt.batch is not None
        self._position = attempt.plan.after
        if not self.cache:
            self._ahead = self._start_reading(self._position)
        return attempt.batch

    def _everyones(self, failed: Failed) -> Failed:
        return failed if self._world_size == 1 or self._share is None else self._share(failed)

    def _start_reading(self, start: _Position) -> _Ahead:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="batch")
        return _Ahead(start, self._thread.submit(self._attempt, start, kept={}))

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

    def close(self) -> None:
        """Stop the threads; the loader starts them again if it is used again."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._reader.close()
        self._thread = self._ahead = None
