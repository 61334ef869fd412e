"""The loader: every readable sample once an epoch, and an exact position to resume from."""

from collections import Counter, deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.sources import ListSource, tokens

from vilseg_data import CaptionBatch, CaptionLoader, WorldCaptions


def loader_of(source: ListSource, **options: object) -> CaptionLoader:
    settings: dict[str, object] = {"batch_size": 4, "image_size": 8, "seed": 0, "threads": 2}
    settings |= {"max_broken": 1.0} | options
    return CaptionLoader(source, tokens, **settings)  # type: ignore[arg-type]


def same(a: CaptionBatch, b: CaptionBatch) -> bool:
    return (
        torch.equal(a.images, b.images)
        and torch.equal(a.tokens, b.tokens)
        and (a.keys, a.epoch) == (b.keys, b.epoch)
    )


SIZES = st.tuples(st.integers(1, 30), st.integers(1, 9)).filter(lambda pair: pair[0] >= pair[1])


@given(SIZES, st.integers(0, 5), st.booleans())
@settings(max_examples=200)
def test_an_epoch_shows_every_sample_once(size: tuple[int, int], seed: int, cache: bool) -> None:
    count, batch_size = size
    loader = loader_of(
        ListSource(count), batch_size=batch_size, seed=seed, cache=cache, drop_last=False
    )
    for epoch in range(2):
        batches = [loader.next_batch() for _ in range(len(loader))]
        assert {batch.epoch for batch in batches} == {epoch}
        keys = [key for batch in batches for key in batch.keys]
        assert sorted(keys) == sorted(f"image-{k}" for k in range(count))
        assert all(len(batch.keys) == batch_size for batch in batches[:-1])
    loader.close()


@given(SIZES, st.booleans())
@settings(max_examples=100)
def test_dropping_the_last_keeps_batches_full(size: tuple[int, int], cache: bool) -> None:
    count, batch_size = size
    loader = loader_of(ListSource(count), batch_size=batch_size, cache=cache)
    assert len(loader) == count // batch_size
    for epoch in range(3):
        assert loader.epoch == max(epoch - 1, 0)
        keys: list[str] = []
        for _ in range(len(loader)):
            batch = loader.next_batch()
            assert batch.epoch == epoch
            assert batch.images.shape == (batch_size, 3, 8, 8)
            assert batch.images.dtype == torch.uint8
            keys += batch.keys
        assert len(set(keys)) == len(keys)
    loader.close()


@pytest.mark.slow
@given(
    st.integers(6, 25),
    st.sets(st.integers(0, 24), max_size=4),
    st.integers(0, 20),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=200)
def test_resuming_anywhere_goes_on_as_if_never_stopped(
    count: int, unreadable: set[int], stop: int, first: bool, second: bool, drop_last: bool
) -> None:
    """Also when one run caches and the other does not, and with unreadable samples."""
    options = {"batch_size": 2, "drop_last": drop_last}
    loader = loader_of(ListSource(count, unreadable=sorted(unreadable)), cache=first, **options)
    for _ in range(stop):
        loader.next_batch()
    state = loader.state_dict()
    resumed = loader_of(ListSource(count, unreadable=sorted(unreadable)), cache=second, **options)
    resumed.load_state_dict(state)
    assert all(same(loader.next_batch(), resumed.next_batch()) for _ in range(15))
    assert loader.state_dict() == resumed.state_dict()
    loader.close()
    resumed.close()


@given(st.sets(st.integers(0, 19), max_size=8), st.booleans())
@settings(max_examples=100)
def test_unreadable_samples_are_left_out_and_named(unreadable: set[int], cache: bool) -> None:
    loader = loader_of(ListSource(20, unreadable=sorted(unreadable)), cache=cache, drop_last=False)
    seen: Counter[str] = Counter()
    while (batch := loader.next_batch()).epoch == 0:
        seen.update(batch.keys)
    assert seen == Counter(f"image-{k}" for k in range(20) if k not in unreadable)
    assert loader.broken == [(f"image-{k}", "cut short") for k in sorted(unreadable)]
    loader.close()


def test_samples_missing_in_the_listing_are_named_first() -> None:
    loader = loader_of(ListSource(8, unreadable=[3], missing=1))
    loader.prepare()
    assert [key for key, _ in loader.broken] == ["gone-0", "image-3"]


@pytest.mark.parametrize("cache", [True, False])
def test_too_many_unreadable_samples_stop_the_run(cache: bool) -> None:
    loader = loader_of(ListSource(20, unreadable=range(0, 20, 4)), cache=cache, max_broken=0.15)
    message = (
        r"max_broken: expected at most 15\.00% .*, "
        r"came 4 or more of 20 in list, first image-\d+: cut short"
    )
    with pytest.raises(ValueError, match=message):
        deque((loader.next_batch() for _ in range(5)), maxlen=0)
    loader.close()


def test_too_many_missing_samples_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"came 2 or more of 12 .* gone-0: no such file"):
        loader_of(ListSource(10, missing=2), max_broken=0.1)


def test_images_tokens_and_keys_belong_together() -> None:
    loader = loader_of(ListSource(30))
    for _ in range(20):
        batch = loader.next_batch()
        assert batch.images[:, 0, 0, 0].tolist() == batch.tokens[:, 0].tolist()
        assert [f"image-{k}" for k in batch.tokens[:, 0].tolist()] == list(batch.keys)


def test_the_order_follows_from_seed_and_epoch() -> None:
    def epochs(seed: int) -> list[list[str]]:
        loader = loader_of(ListSource(24), seed=seed)
        return [[key for _ in range(6) for key in loader.next_batch().keys] for _ in range(2)]

    assert epochs(1) == epochs(1)
    orders = [*epochs(1), *epochs(2), [f"image-{k}" for k in range(24)]]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])


def test_every_caption_of_a_sample_gets_its_turn() -> None:
    loader = loader_of(ListSource(8, captions=3), batch_size=8)
    spoken = Counter(tuple(pair) for _ in range(60) for pair in loader.next_batch().tokens.tolist())
    assert set(spoken) == {(index, k) for index in range(8) for k in range(3)}
    assert all(8 <= times <= 34 for times in spoken.values())


def test_the_caption_drawn_does_not_depend_on_the_batch_size() -> None:
    def spoken(batch_size: int) -> set[tuple[int, ...]]:
        loader = loader_of(ListSource(12), batch_size=batch_size)
        drawn = (loader.next_batch().tokens.tolist() for _ in range(12 // batch_size))
        return {tuple(pair) for batch in drawn for pair in batch}

    assert spoken(1) == spoken(4) == spoken(12)


def test_cache_decodes_once_and_reports_progress() -> None:
    source = ListSource(600)
    loader = loader_of(source, batch_size=100)
    seen: list[tuple[int, int]] = []
    loader.prepare(lambda done, total: seen.append((done, total)))
    assert seen == [(256, 600), (512, 600), (600, 600)]
    for _ in range(13):
        loader.next_batch()
    assert sorted(source.decoded) == list(range(600))


def test_a_cache_larger_than_memory_says_how_large() -> None:
    loader = loader_of(ListSource(10**13), image_size=100)
    with pytest.raises(ValueError, match=r"which take 300,000,000 GB; set cache=False"):
        loader.prepare()


def test_without_cache_nothing_is_prepared() -> None:
    source = ListSource(8)
    loader = loader_of(source, cache=False)
    loader.prepare()
    assert source.decoded == []


def test_reading_ahead_does_not_move_the_position() -> None:
    loader = loader_of(ListSource(12), cache=False)
    start = loader.state_dict()
    first = loader.next_batch()
    after = loader.state_dict()
    second = loader.next_batch()
    for state, batch in ((start, first), (after, second), (start, first)):
        loader.load_state_dict(state)
        assert same(loader.next_batch(), batch)
    loader.close()
    loader.load_state_dict(after)
    assert same(loader.next_batch(), second)
    loader.close()


def test_images_are_squashed_to_the_size_asked_for() -> None:
    batch = loader_of(ListSource(8, size=20), image_size=6).next_batch()
    assert batch.images.shape == (4, 3, 6, 6)
    assert batch.images[:, 0, 2, 3].tolist() == batch.tokens[:, 0].tolist()


@pytest.mark.parametrize("image_size", [32, 40])
def test_the_world_cached_is_the_world_read_one_by_one(image_size: int) -> None:
    def lengths(captions: object) -> torch.Tensor:
        assert isinstance(captions, list)
        return torch.tensor([[len(caption)] for caption in captions])

    loaders = [
        CaptionLoader(
            WorldCaptions(count=20, image_size=32),
            lengths,
            batch_size=5,
            image_size=image_size,
            seed=3,
            cache=cache,
        )
        for cache in (True, False)
    ]
    for _ in range(6):
        first, second = (loader.next_batch() for loader in loaders)
        assert same(first, second)
        assert first.keys[0].startswith("train-")
    loaders[1].close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_size": 11},
            "batch_size: expected no more than the readable samples, came 11 for 10",
        ),
        ({"batch_size": 0}, "batch_size: expected at least 1, came 0"),
        ({"image_size": 0}, "image_size: expected at least 1"),
        ({"seed": -1}, "seed: expected at least 0"),
        ({"threads": 0}, "threads: expected at least 1"),
        ({"max_broken": 1.5}, r"max_broken: expected a share in \[0, 1\], came 1.5; 0.01 is"),
    ],
)
def test_bad_arguments(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loader_of(ListSource(10), **options)


def test_a_sample_without_a_caption_is_named() -> None:
    loader = loader_of(ListSource(4, captions=0))
    with pytest.raises(ValueError, match=r"came none for image-\d of list; list such samples"):
        loader.next_batch()


@pytest.mark.parametrize("cache", [True, False])
def test_a_batch_larger_than_what_is_readable(cache: bool) -> None:
    loader = loader_of(ListSource(10, unreadable=[2, 5]), batch_size=9, cache=cache)
    with pytest.raises(ValueError, match=r"came 9 for 8 of list; lower batch_size"):
        loader.next_batch()
    loader.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 5}, "state: expected seed 0 as in this loader, came 5"),
        ({"samples": 9}, "state: expected samples 10 as in this loader, came 9"),
        ({"offset": 11}, "state: expected a position in an epoch of 10 samples"),
        ({"epoch": -1}, "state: expected a position in an epoch"),
        ({"step": 1}, "state: expected the keys"),
    ],
)
def test_a_state_of_another_loader_is_refused(change: dict[str, int], message: str) -> None:
    loader = loader_of(ListSource(10))
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict(loader.state_dict() | change)
