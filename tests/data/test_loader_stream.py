"""Batches of a stream: like those of a listed source, with a position inside a shard."""

from collections import Counter, deque
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.captions.shard_files import pack, samples, write_shards
from tests.data.sources import photo, tokens
from torch import Tensor

from vilseg_data import CaptionBatch, ShardStream, StreamLoader, Tokenizer


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """17 samples in uneven shards; the images of 3 and 11 are no images."""
    folder = write_shards(tmp_path_factory.mktemp("shards"), [4, 0, 7, 1, 5], captions=2)
    for name, numbers in (("00000", range(4)), ("00002", range(4, 11)), ("00003", [11])):
        members = [
            (key, b"nonsense" if key in ("00003.png", "00011.png") else data)
            for key, data in samples(numbers, captions=2)
        ]
        (folder / f"{name}.tar").write_bytes(pack(members))
    return folder


READABLE = set(range(17)) - {3, 11}


def loader_of(
    shards: Path, *, rank: int = 0, world_size: int = 1, **options: object
) -> StreamLoader:
    stream = ShardStream(shards, seed=2, shuffle=5, rank=rank, world_size=world_size)
    chosen: dict[str, object] = {"batch_size": 4, "image_size": 8, "max_broken": 1.0, "threads": 2}
    return StreamLoader(stream, tokens, **(chosen | options))  # type: ignore[arg-type]


def same(a: CaptionBatch, b: CaptionBatch) -> bool:
    return (
        torch.equal(a.images, b.images)
        and torch.equal(a.tokens, b.tokens)
        and (a.keys, a.epoch) == (b.keys, b.epoch)
    )


@given(st.integers(1, 8), st.integers(1, 4))
@settings(max_examples=200)
def test_an_epoch_over_all_ranks_shows_every_readable_sample_once(
    shards: Path, batch_size: int, world_size: int
) -> None:
    seen: Counter[int] = Counter()
    broken = set()
    for rank in range(world_size):
        loader = loader_of(
            shards, rank=rank, world_size=world_size, batch_size=batch_size, drop_last=False
        )
        while (batch := loader.next_batch()).epoch == 0:
            assert batch.images[:, 0, 0, 0].tolist() == batch.tokens[:, 0].tolist()
            assert [int(key[-5:]) for key in batch.keys] == batch.tokens[:, 0].tolist()
            assert batch.images.shape[1:] == (3, 8, 8)
            seen.update(batch.tokens[:, 0].tolist())
        broken |= {key for key, _ in loader.broken}
        loader.close()
    assert seen == dict.fromkeys(READABLE, 1)
    assert broken == {"00000.tar/00003", "00003.tar/00011"}


@pytest.mark.slow
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", range(1, 7))
def test_resuming_anywhere_goes_on_as_if_never_stopped(
    shards: Path, batch_size: int, drop_last: bool
) -> None:
    options = {"batch_size": batch_size, "drop_last": drop_last}
    whole = loader_of(shards, **options)
    states, batches = [whole.state_dict()], []
    for _ in range(22):
        batches.append(whole.next_batch())
        states.append(whole.state_dict())
    for stop in range(20):
        resumed = loader_of(shards, **options)
        resumed.load_state_dict(states[stop])
        # In the same state it goes on in the same way, as the other stops show.
        assert all(same(batch, resumed.next_batch()) for batch in batches[stop : stop + 2])
        assert resumed.state_dict() == states[stop + 2]
        assert resumed.epoch == batches[stop + 1].epoch
        resumed.close()
    whole.close()


def test_a_closed_loader_goes_on_where_it_was(shards: Path) -> None:
    closed, other = loader_of(shards), loader_of(shards)
    for loader in (closed, other):
        for _ in range(3):
            loader.next_batch()
    closed.close()
    assert same(closed.next_batch(), other.next_batch())
    closed.close()
    other.close()


def test_dropping_the_last_keeps_batches_full(shards: Path) -> None:
    loader = loader_of(shards)
    loader.prepare()
    epochs = [loader.next_batch().epoch for _ in range(9)]
    assert epochs == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    loader.close()


def test_too_many_broken_images_stop_the_run(shards: Path) -> None:
    loader = loader_of(shards, max_broken=0.1)
    message = r"max_broken: expected at most 10\.00% of the images to be damaged, came 2 of 17"
    with pytest.raises(ValueError, match=message):
        deque((loader.next_batch() for _ in range(9)), maxlen=0)
    loader.close()


@pytest.mark.parametrize(
    ("damaged", "whole", "max_broken", "message"),
    [
        (1, 9, 0.01, None),
        (1, 0, 0.01, None),
        (2, 2, 0.5, None),
        (2, 8, 0.01, r"1\.00% of the shards .*, came 2 of 10 in cut0\.tar and 9 more, first cut"),
        (3, 1, 0.5, r"50\.00% of the shards .*, came 3 of 4"),
        (1, 9, 0.0, r"0\.00% of the shards .*, came 1 of 10"),
    ],
)
def test_damaged_shards_weigh_as_shards_rounded_up(
    shards: Path, tmp_path: Path, damaged: int, whole: int, max_broken: float, message: str | None
) -> None:
    data = (shards / "00004.tar").read_bytes()
    for number in range(damaged):
        # Two faults in one shard, which counts once: a block of noise and no end mark.
        spoilt = b"?" * 512 + data[: len(data.rstrip(b"\0")) // 512 * 512 + 512]
        (tmp_path / f"cut{number}.tar").write_bytes(spoilt)
    for number in range(whole):
        (tmp_path / f"whole{number}.tar").write_bytes(data)
    loader = loader_of(tmp_path, batch_size=2, max_broken=max_broken)
    expected = nullcontext() if message is None else pytest.raises(ValueError, match=message)
    with expected:
        while loader.epoch < 2:
            loader.next_batch()
    loader.close()
    if message is None:
        assert loader.stream.damaged_shards == damaged
        assert len(loader.broken) == 2 * damaged


def test_a_batch_larger_than_an_epoch(shards: Path) -> None:
    loader = loader_of(shards, batch_size=16)
    with pytest.raises(ValueError, match=r"batch_size: expected .* came 16 for 15 samples; lower"):
        loader.next_batch()
    loader.close()


def test_shards_without_a_sample(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(pack([]))
    loader = loader_of(tmp_path, drop_last=False)
    with pytest.raises(ValueError, match=r"batch_size: expected .* came 4 for 0 samples"):
        loader.next_batch()
    loader.close()


def test_persons_and_long_captions(tmp_path: Path) -> None:
    long = "🦩" * 100_000
    texts = [b"<PERSON> met <PERSON>", long.encode(), b"bad \xff"]
    members = []
    for number, text in enumerate(texts):
        members += [(f"{number}.jpg", photo(number, size=(1, 1), kind="JPEG"))]
        members += [(f"{number}.txt", text)]
    (tmp_path / "s.tar").write_bytes(pack(members))
    heard: list[str] = []

    def listen(captions: list[str]) -> Tensor:
        heard.extend(captions)
        return tokenizer(captions)

    tokenizer = Tokenizer.train(["a person met a person"], vocab_size=300, context_length=16)
    stream = ShardStream(tmp_path, seed=0, shuffle=0)
    loader = StreamLoader(stream, listen, batch_size=3, image_size=32, person="person")  # type: ignore[arg-type]
    assert loader.next_batch().tokens.shape == (3, 16)
    assert heard[:3] == ["person met person", long, "bad \ufffd"]
    loader.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected at least 1, came 0"),
        ({"image_size": 0}, "image_size: expected at least 1"),
        ({"threads": 0}, "threads: expected at least 1"),
        ({"max_broken": 2.0}, r"max_broken: expected a share in \[0, 1\], came 2.0"),
    ],
)
def test_bad_arguments(shards: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loader_of(shards, **options)  # type: ignore[arg-type]
