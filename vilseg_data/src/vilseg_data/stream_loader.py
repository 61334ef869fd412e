"""Batches from a stream of shards, decoded ahead, with the position of the batch last given."""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from os import cpu_count
from typing import NamedTuple

import torch
from torch import Tensor

from vilseg_data.batch import CaptionBatch, Share
from vilseg_data.captions.mix import replace_person
from vilseg_data.captions.sample import Broken, BrokenSampleError
from vilseg_data.captions.stream import ShardStream, StreamPosition, StreamSample
from vilseg_data.decode import decode_image
from vilseg_data.reading import Progress

# Below this many samples a share is not told from chance, unless the epoch is over.
_ENOUGH = 1000
# A share of few, uneven shards may hold no batch in one epoch and some in the next.
_EMPTY_EPOCHS = 8
_NAMED = 3


class _Result(NamedTuple):
    batch: CaptionBatch
    after: StreamPosition
    over: bool


class _Faults(NamedTuple):
    """What was wrong so far, and of how many."""

    shards: int
    samples: int
    seen: int
    images: int
    decoded: int

    @property
    def bad(self) -> int:
        return self.shards + self.samples + self.images


class StreamLoader:
    """Endless batches from a `ShardStream`, with the methods of `CaptionLoader`.

    tokenizer: strings to int64 (n, length). Every image is squashed to image_size x image_size.
    With `drop_last` every batch holds exactly batch_size samples, else the last of an epoch may
    hold fewer. person: a word in place of CC12M's `<PERSON>`. The next batch is read and decoded
    while the one before it is in use.

    ValueError once more than the share `max_broken` of the samples seen is unreadable, or of the
    shards damaged, rounded up to whole shards, so that one damaged shard of a few does not end a
    run unless max_broken is 0; or when several epochs in a row hold no batch.

    Of several ranks, whose streams are shares of the same shards, each gives batch_size rows of a
    joined batch. With `share`, which each then calls in step with the others, max_broken is of
    what all of them saw.
    """

    def __init__(
        self,
        stream: ShardStream,
        tokenizer: Callable[[Sequence[str]], Tensor],
        *,
        batch_size: int,
        image_size: int,
        drop_last: bool = True,
        max_broken: float = 0.01,
        person: str | None = None,
        threads: int | None = None,
        share: Share | None = None,
    ) -> None:
        chosen = min(8, cpu_count() or 1) if threads is None else threads
        for name, value in (
            ("batch_size", batch_size),
            ("image_size", image_size),
            ("threads", chosen),
        ):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, came {value}; raise it")
        if not 0.0 <= max_broken <= 1.0:
            raise ValueError(
                f"max_broken: expected a share in [0, 1], came {max_broken}; 0.01 is one in 100"
            )
        self.stream, self.tokenizer = stream, tokenizer
        self.batch_size, self.image_size = batch_size, image_size
        self._share = share
        self._counted: _Faults | None = None
        self.drop_last, self.max_broken, self.person = drop_last, max_broken, person
        self._threads = chosen
        self._position = StreamPosition()
        self._unreadable: dict[str, str] = {}
        self._decoded = 0
        self._samples: Generator[tuple[StreamSample, StreamPosition], None, None] | None = None
        self._decoders: ThreadPoolExecutor | None = None
        self._reader: ThreadPoolExecutor | None = None
        self._ahead: Future[_Result] | None = None

    @property
    def broken(self) -> list[Broken]:
        """What was left out so far and why: by the stream, then images that are unreadable."""
        unreadable = list(self._unreadable.items())
        return [*self.stream.broken, *(Broken(*item) for item in unreadable)]

    @property
    def epoch(self) -> int:
        """The epoch of the next batch, unless the current one has just run out."""
        return self._position.epoch

    def prepare(self, progress: Progress | None = None) -> None:
        """Nothing: a stream is read as it is used. For what calls it on any loader."""

    def next_batch(self) -> CaptionBatch:
        """The next batch; epochs follow one another without end."""
        coming = self._ahead or self._start(self._position)
        self._ahead = None
        try:
            batch, self._position, over = coming.result()
            if self._share is not None:
                self._check_together(self._share, over=over)
        except BaseException:
            self._samples = None
            raise
        self._ahead = self._start(self._position)
        return batch

    def _start(self, position: StreamPosition) -> Future[_Result]:
        if self._reader is None:
            self._reader = ThreadPoolExecutor(1, thread_name_prefix="batch")
            self._decoders = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
        return self._reader.submit(self._collect, position)

    def _collect(self, start: StreamPosition) -> _Result:
        """The batch behind `start`; `_samples`, if there is one, stands there already."""
        taken: list[tuple[StreamSample, Tensor]] = []
        position, empty = start, 0
        while True:
            if self._samples is None:
                self._samples = self.stream.follow(position)
            window = []
            for sample, after in self._samples:
                window.append(sample)
                position = after
                if len(taken) + len(window) == self.batch_size:
                    break
            over = len(taken) + len(window) < self.batch_size
            taken += self._decode(window)
            if self._share is None:
                self._check_broken(self._faults(), self.broken[:_NAMED], over=over)
            if len(taken) == self.batch_size or (over and taken and not self.drop_last):
                return _Result(self._batch(taken, position), position, over)
            if over:
                if empty == _EMPTY_EPOCHS:
                    raise ValueError(
                        f"batch_size: expected no more than an epoch's share of {self.stream.name} "
                        f"holds, came {self.batch_size} for {len(taken)} samples; lower it, give "
                        "more shards or fewer ranks, or set drop_last=False"
                    )
                position, empty = StreamPosition(position.epoch + 1), empty + 1
                self._samples, taken = None, []

    def _decode(self, window: Sequence[StreamSample]) -> list[tuple[StreamSample, Tensor]]:
        assert self._decoders is not None
        good = []
        results = self._decoders.map(self._decode_one, window)
        for sample, result in zip(window, results, strict=True):
            if isinstance(result, BrokenSampleError):
                self._unreadable.setdefault(result.key, result.reason)
            else:
                good.append((sample, result))
        self._decoded += len(window)
        return good

    def _decode_one(self, sample: StreamSample) -> Tensor | BrokenSampleError:
        try:
            return decode_image(sample.image, key=sample.key, size=self.image_size)
        except BrokenSampleError as error:
            return error

    def _batch(
        self, taken: list[tuple[StreamSample, Tensor]], position: StreamPosition
    ) -> CaptionBatch:
        spoken = [sample.caption for sample, _ in taken]
        if self.person is not None:
            spoken = list(replace_person(spoken, by=self.person))
        return CaptionBatch(
            images=torch.stack([image for _, image in taken]),
            tokens=self.tokenizer(spoken),
            keys=tuple(sample.key for sample, _ in taken),
            epoch=position.epoch,
            first=self.stream.part * self.batch_size,
            total=self.stream.parts * self.batch_size,
        )

    def _faults(self) -> _Faults:
        stream = self.stream
        return _Faults(
            shards=stream.damaged_shards,
            samples=stream.broken_samples,
            seen=stream.seen,
            images=len(self._unreadable),
            decoded=self._decoded,
        )

    def _check_together(self, share: Share, *, over: bool) -> None:
        faults, before = self._faults(), self._counted
        self._counted = faults
        quiet = before is not None and before.bad == faults.bad and not over
        # Seldom anything is new, and then the one message of a batch is empty.
        if not share([] if quiet else [True]):
            return
        named: list[Broken] = []
        told: list[_Faults] = []
        for their_faults, their_broken, their_over in share([(faults, self.broken[:_NAMED], over)]):
            told.append(their_faults)
            named += their_broken
            over = over or their_over
        self._check_broken(
            _Faults(*(sum(counts) for counts in zip(*told, strict=True))), named, over=over
        )

    def _check_broken(self, faults: _Faults, named: Sequence[Broken], *, over: bool) -> None:
        shards, share = len(set(self.stream.shards)), self.max_broken
        seen, decoded = faults.seen, faults.decoded
        checks = (
            # Of 10 shards 1 % is none, and a set of a few large shards would bear no damage at all.
            (faults.shards, shards, "shards", math.ceil(share * shards), True),
            (faults.samples, seen, "samples", share * seen, over or seen >= _ENOUGH),
            (faults.images, decoded, "images", share * decoded, over or decoded >= _ENOUGH),
        )
        for count, total, what, allowed, enough in checks:
            if enough and count > allowed:
                first = "; ".join(f"{key}: {reason}" for key, reason in named[:_NAMED])
                raise ValueError(
                    f"max_broken: expected at most {self.max_broken:.2%} of the {what} to be "
                    f"damaged, came {count} of {total} in {self.stream.name}, first {first}; mend "
                    "or remove them, or raise max_broken"
                )

    def state_dict(self) -> dict[str, int]:
        """The exact position behind the batch last given."""
        return self.stream.describe(self._position)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on behind the batch that `state` was taken after; ValueError as `ShardStream`'s."""
        position = self.stream.locate(state)
        self.close()
        self._position = position

    def close(self) -> None:
        """Stop the threads; the loader starts them again if it is used again."""
        for pool in (self._reader, self._decoders):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)
        if self._samples is not None:
            self._samples.close()
        self._reader = self._decoders = self._ahead = self._samples = None
