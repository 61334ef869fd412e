"""The world as a source and as a labelled set: scene i depends on (seed, split, i) alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vilseg_data import CaptionSource, LabelledSet, WorldCaptions, WorldLabelled
from vilseg_data.world import FIRST, Compositions


def test_protocols() -> None:
    assert isinstance(WorldCaptions(count=1), CaptionSource)
    assert isinstance(WorldLabelled(count=1), LabelledSet)
    assert WorldCaptions(count=1).broken == []


@given(st.permutations(range(8)), st.integers(8, 40), st.integers(0, 3))
@settings(max_examples=10)
def test_scenes_do_not_depend_on_count_or_order(order: list[int], count: int, seed: int) -> None:
    plain, other = WorldCaptions(count=8, seed=seed), WorldCaptions(count=count, seed=seed)
    shuffled = {index: other[index] for index in order}
    for index in range(8):
        sample = plain[index]
        assert torch.equal(sample.image, shuffled[index].image)
        assert sample.captions == shuffled[index].captions
        assert sample.key == shuffled[index].key


def test_captions_are_the_same_asked_for_alone_before_or_after_the_image() -> None:
    first, second = WorldCaptions(count=20), WorldCaptions(count=20)
    alone = [first.captions(index) for index in range(20)]
    assert alone == [second[index].captions for index in range(20)]
    assert [first[index].captions for index in range(20)] == alone


def test_captions_do_not_depend_on_the_image_size_or_on_their_number() -> None:
    small = WorldCaptions(count=20, image_size=32)
    large = WorldCaptions(count=20, image_size=80, captions_per_image=3)
    for index in range(20):
        assert len(large.captions(index)) == 3
        assert small.captions(index) == large[index].captions[:1]


def test_seeds_and_splits_differ() -> None:
    base = WorldCaptions(count=4)
    others = [WorldCaptions(count=4, seed=1), WorldCaptions(count=4, split="val")]
    for other in others:
        assert all(not torch.equal(base[index].image, other[index].image) for index in range(4))


def test_worlds_differ_in_looks_and_share_layouts() -> None:
    first = WorldLabelled(count=4)
    second = WorldLabelled(world="world2", count=4)
    assert (first.name, second.name) == ("world", "world2")
    for index in range(4):
        assert not torch.equal(first[index].image, second[index].image)
        stuff = [set(s[index].labels[s[index].labels < 10].tolist()) for s in (first, second)]
        assert stuff[0] & stuff[1]


def test_held_out_pairs_reach_captions_and_images() -> None:
    pairs = [f"{texture} {thing}" for thing, texture in FIRST.held_out.items()]

    def spoken(compositions: Compositions) -> str:
        scenes = WorldCaptions(count=400, compositions=compositions, captions_per_image=2)
        return " | ".join(text for index in range(400) for text in scenes.captions(index))

    seen, held_out = spoken("seen"), spoken("held-out")
    assert not any(pair in seen for pair in pairs)
    assert all(pair in held_out for pair in pairs)


def test_all_images_at_once_are_the_images_one_by_one() -> None:
    source, again = WorldCaptions(count=300, image_size=32), WorldCaptions(count=300, image_size=32)
    seen: list[tuple[int, int]] = []
    images = source.images(lambda done, total: seen.append((done, total)))
    assert seen == [(256, 300), (300, 300)]
    assert images.shape == (300, 3, 32, 32)
    for index in (0, 1, 150, 299):
        assert torch.equal(images[index], again[index].image)
        assert source.captions(index) == again.captions(index)
    assert source.keys()[299] == again[299].key


@pytest.mark.parametrize("size", [32, 64, 100])
def test_labelled_scenes_are_those_of_the_captions(size: int) -> None:
    labelled = WorldLabelled(split="val", count=5, image_size=size)
    spoken = WorldCaptions(split="val", count=5, image_size=size)
    for index in range(5):
        sample = labelled[index]
        assert torch.equal(sample.image, spoken[index].image)
        assert sample.key == spoken[index].key
        assert sample.labels.shape == (size, size)
        assert sample.labels.dtype == torch.int64
        assert 0 <= int(sample.labels.min()) <= int(sample.labels.max()) < 22


def test_classes() -> None:
    classes = WorldLabelled(count=1).classes
    assert len(classes) == 22
    assert classes.background is None
    assert classes.prompts == classes.names
    assert [classes.names[k] for k in classes.unseen] == list(FIRST.unseen)
    assert [k < 10 for k in classes.unseen] == [True, True, False, False, False]
    assert len({tuple(colour) for colour in classes.palette.tolist()}) == 22


def test_positions() -> None:
    source, labelled = WorldCaptions(count=3), WorldLabelled(count=3)
    assert source[-1].key == source[2].key
    with pytest.raises(IndexError, match=r"0\.\.2, came 3"):
        source[3]
    with pytest.raises(IndexError, match=r"0\.\.2, came -4"):
        labelled[-4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count: expected at least 1, came 0"),
        ({"count": 1, "image_size": 31}, "image_size: expected at least 32, came 31"),
        ({"count": 1, "seed": -1}, "seed: expected at least 0, came -1"),
        ({"count": 1, "split": ""}, "split: expected a name"),
        (
            {"count": 1, "world": "mars"},
            r"world: expected one of \['world', 'world2'\], came 'mars'",
        ),
        ({"count": 1, "compositions": "new"}, "compositions: expected one of .*, came 'new'"),
        ({"count": 1, "captions_per_image": 0}, "captions_per_image: expected at least 1"),
    ],
)
def test_bad_arguments(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WorldCaptions(**options)  # type: ignore[arg-type]
