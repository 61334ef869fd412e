"""Sources made of other sources."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.sources import ListSource, tokens

from vilseg_data import (
    BrokenSampleError,
    CaptionLoader,
    CaptionSample,
    CaptionSource,
    EveryCaption,
    MixedCaptions,
    NamedPersons,
)


class Spoken(ListSource):
    """As many captions for each image as told; odd images are called <PERSON>."""

    def __init__(self, counts: list[int]) -> None:
        super().__init__(len(counts), missing=1)
        self._counts = counts

    def captions(self, index: int) -> tuple[str, ...]:
        word = "<PERSON>" if index % 2 else "dog"
        return tuple(f"{word} {index} {k} <PERSON>" for k in range(self._counts[index]))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8))
@settings(max_examples=60)
def test_every_caption_has_its_position(counts: list[int]) -> None:
    source = Spoken(counts)
    every = EveryCaption(source)
    assert isinstance(every, CaptionSource)
    pairs = [(index, k) for index, count in enumerate(counts) for k in range(count)]
    assert len(every) == len(pairs)
    for place, (index, k) in enumerate(pairs):
        sample = every[place]
        assert sample.captions == every.captions(place) == (source.captions(index)[k],)
        assert (sample.key, int(sample.image[0, 0, 0])) == (f"image-{index}#{k}", index)
    assert every.broken == source.broken
    with pytest.raises(IndexError):
        every[len(pairs)]


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 3)), min_size=1, max_size=4))
@settings(max_examples=60)
def test_a_mix_shows_each_source_its_weight(parts: list[tuple[int, int]]) -> None:
    sources = [ListSource(count, missing=1) for count, _ in parts]
    mix = MixedCaptions(sources, weights=[weight for _, weight in parts])
    assert isinstance(mix, CaptionSource)
    keys = Counter(mix[k].key for k in range(len(mix)))
    assert keys == {
        f"{number}/image-{k}": weight
        for number, (count, weight) in enumerate(parts)
        for k in range(count)
    }
    assert all(mix[k].captions == mix.captions(k) for k in range(len(mix)))
    assert [key for key, _ in mix.broken] == [f"{k}/gone-0" for k in range(len(parts))]


def test_a_mix_names_the_source_of_what_is_unreadable() -> None:
    mix = MixedCaptions([ListSource(2), ListSource(2, unreadable=[1])])
    assert mix.name == "list + list"
    with pytest.raises(BrokenSampleError, match="1/image-1: cut short"):
        mix[3]


def test_a_mix_trains_and_resumes() -> None:
    def loader() -> CaptionLoader:
        mix = MixedCaptions([ListSource(5), ListSource(3)], weights=[1, 2])
        return CaptionLoader(mix, tokens, batch_size=2, image_size=8, seed=4)

    first, second = loader(), loader()
    for _ in range(3):
        first.next_batch()
    second.load_state_dict(first.state_dict())
    for _ in range(9):
        a, b = first.next_batch(), second.next_batch()
        assert a.keys == b.keys
        assert torch.equal(a.tokens, b.tokens)


def test_persons() -> None:
    source = NamedPersons(Spoken([1, 2]), by="person")
    assert isinstance(source, CaptionSource)
    assert source.captions(1) == ("person 1 0 person", "person 1 1 person")
    sample = NamedPersons(ListSource(2), by="person")[1]
    assert isinstance(sample, CaptionSample)
    assert (sample.key, sample.captions) == ("image-1", ("1 0", "1 1", "1 2"))
    assert (len(source), source.name, source.broken[0].key) == (2, "list", "gone-0")


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1], "came 1; name as many"), ([0, 1], r"whole numbers of at least 1, came \[0, 1\]")],
)
def test_bad_weights(weights: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MixedCaptions([ListSource(1), ListSource(1)], weights=weights)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="weights: expected one for each of 0 sources"):
        MixedCaptions([])
    with pytest.raises(ValueError, match="by: expected a word, came none"):
        NamedPersons(ListSource(1), by=" ")
