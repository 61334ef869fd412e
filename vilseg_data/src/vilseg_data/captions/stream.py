"""Tar shards read forwards, a share of them on each rank and worker: nothing is listed first.

The order follows from (seed, epoch) alone. Samples are gathered in blocks of `shuffle` and each
block is shuffled as a whole, so that four numbers are the exact position: epoch, shard and sample
where the block began, and how many of the block were given. Resuming reads at most one block again.
"""

import time
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from vilseg_data.captions.locations import is_remote, open_shard, repeat_shards, shard_name
from vilseg_data.captions.sample import Broken
from vilseg_data.captions.shard import ShardDamage, ShardSample, read_shard
from vilseg_data.captions.shards import name_of
from vilseg_data.seeding import generator_for


class StreamSample(NamedTuple):
    """One image, as its file, with one caption of it."""

    key: str
    image: bytes
    caption: str


class StreamPosition(NamedTuple):
    """Shard (of this part's, in the epoch's order) and sample where the block begins; `given`
    samples of it have been given."""

    epoch: int = 0
    shard: int = 0
    sample: int = 0
    given: int = 0


class _Portion(NamedTuple):
    """Samples number `first`, `first + step`, ... of a shard."""

    shard: int
    first: int
    step: int


class _Block(NamedTuple):
    shard: int
    sample: int
    entries: list[StreamSample]


def portions(order: Sequence[int], *, part: int, parts: int) -> list[_Portion]:
    """What part number `part` of `parts` reads of the shards in `order`; all parts read all, once.

    With as many shards as parts or more, whole shards; with fewer, the parts share them.
    """
    count = len(order)
    if count >= parts:
        return [_Portion(shard, 0, 1) for shard in order[part::parts]]
    shard = part % count
    return [_Portion(order[shard], part // count, -(-(parts - shard) // count))]


class ShardStream:
    """An epoch of a share of the shards; iterate again for the next one.

    shards: as `find_shards` takes them; all ranks must name the same. weights: how often an epoch
    shows each entry of the list `shards`, once by default. shuffle: samples in a block,
    held in memory as files; 0 keeps the order of the shards. captions: "random" gives each sample
    once an epoch with one of its captions, "all" once with each. Of `world_size` ranks with
    `workers` workers each, this is the share of one (0 workers are one); the shares of an epoch do
    not overlap and leave nothing out, and may differ in length. tries: how often a remote shard is
    opened before it is given up for this epoch; pauses of 1, 2, 4, ... `pause` seconds lie between.
    `broken` names each broken sample and what is wrong with a shard once, over all epochs; a shard
    goes by its file name there, since its URL or command may hold a password.

    In a worker of torch's DataLoader pass worker=info.id, workers=info.num_workers of
    `torch.utils.data.get_worker_info()`.
    """

    def __init__(
        self,
        shards: str | Path | Sequence[str | Path],
        *,
        seed: int,
        weights: Sequence[int] | None = None,
        shuffle: int = 1000,
        captions: Literal["random", "all"] = "random",
        rank: int = 0,
        world_size: int = 1,
        worker: int = 0,
        workers: int = 0,
        caption_key: str = "caption",
        tries: int = 3,
        pause: float = 1.0,
    ) -> None:
        for name, value, least in (
            ("seed", seed, 0),
            ("shuffle", shuffle, 0),
            ("world_size", world_size, 1),
            ("workers", workers, 0),
            ("tries", tries, 1),
        ):
            if value < least:
                raise ValueError(f"{name}: expected at least {least}, came {value}; raise it")
        for name, value, count in (
            ("rank", rank, world_size),
            ("worker", worker, max(workers, 1)),
        ):
            if not 0 <= value < count:
                raise ValueError(
                    f"{name}: expected 0 to {count - 1} of {count}, came {value}; pass its number"
                )
        if captions not in ("random", "all"):
            raise ValueError(f"captions: expected 'random' or 'all', came {captions!r}; choose one")
        self.shards = repeat_shards(shards, weights=weights)
        self.name = name_of(list(dict.fromkeys(self.shards)))
        self.seed, self.shuffle, self.captions = seed, shuffle, captions
        self.part = rank * max(workers, 1) + worker
        self.parts = world_size * max(workers, 1)
        self.seen = 0
        self._caption_key, self._tries, self._pause = caption_key, tries, pause
        self._position = StreamPosition()
        self._faults: dict[Broken, str | None] = {}  # where it is that of a shard: which

    @property
    def broken(self) -> list[Broken]:
        """Every broken sample and damage of a shard met so far, once, in the order met."""
        return list(self._faults)

    @property
    def damaged_shards(self) -> int:
        """Of how many shards samples may be missing, whatever number of reasons each has."""
        return len({*self._faults.copy().values()} - {None})

    @property
    def broken_samples(self) -> int:
        """How many of `broken` are single samples."""
        return [*self._faults.copy().values()].count(None)

    def __iter__(self) -> Iterator[StreamSample]:
        """The rest of the epoch; whoever stops in it goes on there with the next iteration."""
        start = self._position
        for sample, after in self.follow(start):
            self._position = after
            yield sample
        self._position = StreamPosition(self._position.epoch + 1)

    def follow(
        self, start: StreamPosition
    ) -> Generator[tuple[StreamSample, StreamPosition], None, None]:
        """The rest of the epoch of `start`, each sample with the position behind it.

        The next block is read while the one before it is given. No state is kept but `broken`.
        """
        blocks = self._blocks(start)
        given = start.given
        with ThreadPoolExecutor(1, thread_name_prefix="shards") as reader:
            coming = reader.submit(next, blocks, None)
            while (block := coming.result()) is not None:
                coming = reader.submit(next, blocks, None)
                for number in range(given, len(block.entries)):
                    yield (
                        block.entries[number],
                        StreamPosition(start.epoch, block.shard, block.sample, number + 1),
                    )
                given = 0

    def state_dict(self) -> dict[str, int]:
        """The exact position of the iteration, for `load_state_dict` of a like stream."""
        return self.describe(self._position)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on behind the last sample given when `state` was taken; what was given, is not again.

        ValueError if `state` is of other shards, seed, shuffle, captions or share, whose order it
        means.
        """
        self._position = self.locate(state)

    def describe(self, position: StreamPosition) -> dict[str, int]:
        """`position` with what it is relative to."""
        return {**position._asdict(), **self._identity()}

    def locate(self, state: Mapping[str, int]) -> StreamPosition:
        """The position in `state`, checked as `load_state_dict` says."""
        identity = self._identity()
        wanted = {*StreamPosition._fields, *identity}
        if set(state) != wanted:
            raise ValueError(
                f"state: expected the keys {sorted(wanted)}, came {sorted(state)}; pass what "
                "state_dict() returned"
            )
        for name, here in identity.items():
            if state[name] != here:
                raise ValueError(
                    f"state: expected {name} {here} as in this stream, came {state[name]}; resume "
                    "with the shards and the settings of the saved run"
                )
        position = StreamPosition(*(state[name] for name in StreamPosition._fields))
        shares = len(self._portions(0))
        if min(position) < 0 or position.shard > shares:
            raise ValueError(
                f"state: expected a position in {shares} shards, came {position}; pass what "
                "state_dict() returned"
            )
        return position

    def _identity(self) -> dict[str, int]:
        every = int(self.captions == "all")
        return {
            "seed": self.seed,
            "shards": len(self.shards),
            # The files' names: where they lie may change, as do the keys in signed URLs.
            "names": zlib.crc32("\n".join(map(shard_name, self.shards)).encode()),
            "shuffle": self.shuffle,
            "every_caption": every,
            "part": self.part,
            "parts": self.parts,
        }

    def _rng(self, *words: int) -> np.random.Generator:
        return generator_for(self.seed, *words)

    def _portions(self, epoch: int) -> list[_Portion]:
        count = len(self.shards)
        order = self._rng(epoch).permutation(count).tolist() if self.shuffle else range(count)
        return portions(order, part=self.part, parts=self.parts)

    def _blocks(self, start: StreamPosition) -> Iterator[_Block]:
        own = self._portions(start.epoch)
        shard, sample = start.shard, start.sample
        gathered: list[ShardSample] = []
        size = 0
        for slot in range(shard, len(own)):
            first = sample if slot == shard else 0
            for number, item in self._read(own[slot], start=first):
                gathered.append(item)
                size += len(item.captions) if self.captions == "all" else 1
                if size >= max(self.shuffle, 1):
                    yield self._shuffle(start.epoch, own, at=(shard, sample), samples=gathered)
                    gathered, size = [], 0
                    shard, sample = slot, number + 1
        if gathered:
            yield self._shuffle(start.epoch, own, at=(shard, sample), samples=gathered)

    def _shuffle(
        self, epoch: int, own: list[_Portion], *, at: tuple[int, int], samples: list[ShardSample]
    ) -> _Block:
        rng = self._rng(epoch, own[at[0]].shard, at[1], self.part)
        if self.captions == "all":
            entries = [StreamSample(s.key, s.image, text) for s in samples for text in s.captions]
        else:
            levels = rng.random(len(samples)).tolist()
            entries = [
                StreamSample(s.key, s.image, s.captions[int(level * len(s.captions))])
                for s, level in zip(samples, levels, strict=True)
            ]
        if self.shuffle:
            entries = [entries[place] for place in rng.permutation(len(entries)).tolist()]
        return _Block(*at, entries)

    def _read(self, portion: _Portion, *, start: int) -> Iterator[tuple[int, ShardSample]]:
        """The whole samples of a portion from number `start` of the shard on, with their numbers;
        the others are noted, and a remote shard that fails is opened again where it failed."""
        place = self.shards[portion.shard]
        name = shard_name(place)
        failures = 0
        while True:
            try:
                file = open_shard(place)
                try:
                    items = read_shard(file, name=name, caption_key=self._caption_key, start=start)
                    for item in items:
                        if isinstance(item, ShardDamage):
                            self._faults[Broken(*item)] = place
                            continue
                        number, start, failures = start, start + 1, 0
                        if number % portion.step != portion.first:
                            continue
                        self.seen += 1
                        if isinstance(item, ShardSample):
                            yield number, item
                        else:
                            self._faults[item] = None
                finally:
                    file.close()
                return
            except OSError as error:
                failures += 1
                if failures >= self._tries or not is_remote(place):
                    reason = f"not readable from sample {start} on, {failures} tries: {error}"
                    self._faults[Broken(name, reason)] = place
                    return
                time.sleep(self._pause * 2 ** (failures - 1))
