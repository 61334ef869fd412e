"""The stream: every sample once an epoch over all shares, and an exact position to resume from."""

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.captions.shard_files import pack, samples, write_shards
from tests.data.sources import photo
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from vilseg_data import ShardStream, StreamSample
from vilseg_data.captions.locations import shard_name
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


def test_a_pipe_is_read_like_a_file(shards: Path) -> None:
    paths = [str(shards / f"{k:05d}.tar") for k in range(5)]
    pipes = [f"pipe:cat {path}" for path in paths]
    files, piped = (ShardStream(places, seed=3, shuffle=4) for places in (paths, pipes))
    assert [(s.image, s.caption) for s in files] == [(s.image, s.caption) for s in piped]
    assert piped.broken == []


def test_a_pipe_that_fails_is_tried_again_and_named(shards: Path, tmp_path: Path) -> None:
    tar, log = shards / "00002.tar", tmp_path / "log"
    command = f"pipe:echo x >> {log}; head -c 4000 {tar}; exit 3"
    stream = ShardStream([command, str(shards / "00000.tar")], seed=0, pause=0.0, tries=4)
    got = {int(sample.key[-5:]) for sample in stream}
    # 4000 bytes are the first sample and the beginning of the second.
    assert got == {0, 1, 2, 3, 4}
    assert log.read_text().count("x") == 4
    (broken,) = stream.broken
    assert broken.key == command
    assert broken.reason == "not readable from sample 1 on, 4 tries: its program gave exit 3"
    assert stream.damaged_shards == 1


class _Server(BaseHTTPRequestHandler):
    folder: Path
    asked: list[str]

    def do_GET(self) -> None:
        name = self.path.strip("/").split("?")[0]
        self.asked.append(name)
        file = self.folder / name
        if not file.is_file():
            self.send_error(404)
            return
        data = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        # The first answer for this shard breaks off in the middle.
        broken_off = name == "00002.tar" and self.asked.count(name) == 1
        self.wfile.write(data[: len(data) // 2] if broken_off else data)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def server(shards: Path) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (_Server,), {"folder": shards, "asked": asked})
    with HTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()
        thread.join()


def test_http(server: tuple[str, list[str]]) -> None:
    url, asked = server
    stream = ShardStream(f"{url}/{{00000..00004}}.tar?v=1", seed=0, pause=0.0)
    assert sorted(int(sample.key[-5:]) for sample in stream) == list(range(17))
    assert stream.broken == []
    assert asked.count("00002.tar") == 2


def test_http_that_fails_is_counted_and_named(server: tuple[str, list[str]]) -> None:
    url, asked = server
    stream = ShardStream([f"{url}/00000.tar", f"{url}/gone.tar"], seed=0, pause=0.0, tries=2)
    assert sorted(int(sample.key[-5:]) for sample in stream) == [0, 1, 2, 3]
    assert asked.count("gone.tar") == 2
    (broken,) = stream.broken
    assert (broken.key, stream.damaged_shards) == (f"{url}/gone.tar", 1)
    assert broken.reason == "not readable from sample 0 on, 2 tries: its program gave exit 22"


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


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("d/00000.tar", "00000.tar"),
        ("https://host/a/00000.tar?key=x.tar", "00000.tar"),
        ("pipe:aws s3 cp 's3://b/00001.tar' -", "00001.tar"),
        ("pipe:make-one", "pipe:make-one"),
    ],
)
def test_names_of_shards(location: str, name: str) -> None:
    assert shard_name(location) == name


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
