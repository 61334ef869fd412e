"""The stream: every sample once an epoch over all shares, and an exact position to resume from."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.captions.shard_files import pack, samples, write_shards
from tests.data.sources import photo
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from vilseg_data import ShardStream, StreamSample
from vilseg_data.captions.stream import portions

SIZES = [4, 0, 7, 1, 5]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Uneven shards of 17 samples with 3 captions each."""
    return write_shards(tmp_path_factory.mktemp("shards"), SIZES, captions=3)


@given(st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=200)
def test_portions_are_a_partition(count: int, parts: int) -> None:
    owners = Counter(
        (portion.shard, number)
        for part in range(parts)
        for portion in portions(range(count), part=part, parts=parts)
        for number in range(portion.first, 30, portion.step)
    )
    assert owners == {(shard, number): 1 for shard in range(count) for number in range(30)}


@pytest.mark.slow
@given(
    st.integers(1, 8),
    st.integers(0, 4),
    st.integers(0, 3),
    st.sampled_from([0, 1, 3, 100]),
    st.sampled_from(["random", "all"]),
)
@settings(max_examples=200)
def test_ranks_and_workers_share_every_epoch(
    shards: Path, world_size: int, workers: int, seed: int, shuffle: int, captions: str
) -> None:
    streams = [
        ShardStream(
            shards,
            seed=seed,
            shuffle=shuffle,
            captions="all" if captions == "all" else "random",
            rank=rank,
            world_size=world_size,
            worker=worker,
            workers=workers,
        )
        for rank in range(world_size)
        for worker in range(max(workers, 1))
    ]
    for _ in range(2):
        seen = [sample for stream in streams for sample in stream]
        pairs = Counter((int(sample.key[-5:]), sample.caption) for sample in seen)
        if captions == "all":
            assert pairs == {(k, f"{k} {c}"): 1 for k in range(17) for c in range(3)}
        else:
            assert Counter(k for k, _ in pairs.elements()) == dict.fromkeys(range(17), 1)
            assert all(text in {f"{k} {c}" for c in range(3)} for k, text in pairs)
        assert all(s.image == photo(int(s.key[-5:]), size=(3, 2)) for s in seen)
    assert all(stream.broken == [] for stream in streams)


@pytest.mark.slow
@given(
    st.integers(0, 50),
    st.sampled_from([0, 1, 2, 5, 100]),
    st.sampled_from([(0, 1), (1, 2), (6, 9)]),
    st.booleans(),
)
@settings(max_examples=200)
def test_resuming_anywhere_is_never_having_stopped(
    shards: Path, stop: int, shuffle: int, part: tuple[int, int], every: bool
) -> None:
    def stream() -> ShardStream:
        captions = "all" if every else "random"
        return ShardStream(
            shards,
            seed=5,
            shuffle=shuffle,
            rank=part[0],
            world_size=part[1],
            captions=captions,  # type: ignore[arg-type]
        )

    whole = stream()
    expected = [sample for _ in range(4) for sample in whole]
    stop = min(stop, len(expected))
    first = stream()
    before: list[StreamSample] = []
    while len(before) < stop:
        before += list(islice(first, stop - len(before)))
    second = stream()
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    after: list[StreamSample] = []
    while len(after) < len(expected) - stop:
        after += list(second)
    assert before + after[: len(expected) - stop] == expected


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6))
@settings(max_examples=30)
def test_weights_say_how_often_an_epoch_shows_an_entry(
    shards: Path, first: int, second: int, world_size: int
) -> None:
    entries = [str(shards / "00000.tar"), f"{shards}/0000[234].tar"]
    streams = [
        ShardStream(entries, seed=0, weights=[first, second], rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    seen = Counter(int(sample.key[-5:]) for stream in streams for sample in stream)
    assert seen == {k: first if k < 4 else second for k in range(17)}
    assert streams[0].name == "00000.tar and 3 more"


def test_the_order_follows_from_the_seed(shards: Path) -> None:
    def keys(seed: int, *, shuffle: int = 6) -> list[str]:
        stream = ShardStream(shards, seed=seed, shuffle=shuffle)
        return [sample.key for _ in range(2) for sample in stream]

    assert keys(1) == keys(1)
    assert keys(1)[:17] != keys(1)[17:]
    assert keys(1) != keys(2)
    assert keys(1, shuffle=0) == sorted(keys(1, shuffle=0)[:17]) * 2
    assert keys(1, shuffle=100)[:17] != sorted(keys(1)[:17])


def test_every_caption_of_a_sample_gets_its_turn(shards: Path) -> None:
    stream = ShardStream(shards, seed=0)
    times = Counter(sample.caption for _ in range(60) for sample in stream)
    assert len(times) == 51
    assert all(8 <= count <= 34 for count in times.values())


@given(st.data())
@settings(max_examples=100)
def test_a_shard_cut_anywhere(shards: Path, data: st.DataObject) -> None:
    whole = (shards / "00002.tar").read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    path = shards.parent / "cut.tar"
    path.write_bytes(whole[:cut])
    stream = ShardStream([path, shards / "00004.tar"], seed=1, shuffle=data.draw(st.integers(0, 9)))
    got = {int(s.key[-5:]): s for s in stream}
    assert set(range(12, 17)) <= set(got)
    assert set(got) - set(range(12, 17)) == set(range(4, 4 + len(got) - 5))
    assert all(s.image == photo(k, size=(3, 2)) for k, s in got.items())
    if len(got) < 12:
        assert any(key == "cut.tar" for key, _ in stream.broken)
    named = stream.broken
    list(stream)
    assert stream.broken == named


def test_broken_samples_are_left_out_and_named_by_their_share(tmp_path: Path) -> None:
    members = [*samples([0]), ("a.png", b""), ("a.txt", b"x"), *samples([1]), ("b.txt", b"x")]
    (tmp_path / "s.tar").write_bytes(pack(members))
    streams = [ShardStream(tmp_path, seed=0, rank=rank, world_size=2) for rank in range(2)]
    assert sorted(s.key[-5:] for stream in streams for s in stream) == ["00000", "00001"]
    assert [stream.broken for stream in streams] == [
        [],
        [("s.tar/a", "empty file"), ("s.tar/b", "no image among its members ['txt']")],
    ]
    assert [stream.seen for stream in streams] == [2, 2]


class _Samples(IterableDataset[str]):
    """The stream in a worker process of torch."""

    def __init__(self, shards: Path) -> None:
        self._shards = shards

    def __iter__(self) -> Iterator[str]:
        info = get_worker_info()
        assert info is not None
        stream = ShardStream(self._shards, seed=0, worker=info.id, workers=info.num_workers)
        return (sample.key for sample in stream)


@pytest.mark.slow  # two processes import torch
def test_processes_of_a_data_loader_share_an_epoch(shards: Path) -> None:
    loader = DataLoader(
        _Samples(shards), batch_size=None, num_workers=2, multiprocessing_context="spawn"
    )
    assert Counter(int(key[-5:]) for key in loader) == dict.fromkeys(range(17), 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed: expected at least 0, came -1"),
        ({"shuffle": -1}, "shuffle: expected at least 0"),
        ({"world_size": 0}, "world_size: expected at least 1"),
        ({"rank": 2, "world_size": 2}, "rank: expected 0 to 1 of 2, came 2; pass its number"),
        ({"weights": [1, 2]}, r"each of 1 entries of shards, came \[1, 2\]; name one for each"),
        ({"weights": [0]}, r"weights: expected a whole number of at least 1 .* came \[0\]"),
        ({"worker": 1}, "worker: expected 0 to 0 of 1"),
        ({"captions": "first"}, "captions: expected 'random' or 'all', came 'first'"),
    ],
)
def test_bad_arguments(shards: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ShardStream(shards, **({"seed": 0} | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 5}, "state: expected seed 0 as in this stream, came 5; resume with"),
        ({"shards": 6}, "state: expected shards 5"),
        ({"names": 1}, "state: expected names"),
        ({"part": 1}, "state: expected part 0"),
        ({"shard": 6}, "state: expected a position in 5 shards"),
        ({"given": -1}, "state: expected a position in 5 shards"),
        ({"step": 1}, "state: expected the keys"),
    ],
)
def test_a_state_of_another_stream_is_refused(
    shards: Path, change: dict[str, int], message: str
) -> None:
    stream = ShardStream(shards, seed=0)
    with pytest.raises(ValueError, match=message):
        stream.load_state_dict(stream.state_dict() | change)


def test_the_real_cc12m_shard(shared_data: Path) -> None:
    stream = ShardStream(shared_data / "cc12m", seed=0, shuffle=8)
    assert len({sample.key for sample in stream}) == 32
    assert stream.broken == []
