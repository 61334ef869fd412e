"""Captions name some of what is there, in the words of the world, and never where it is."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vilseg_data.world import WORLDS, WorldKind
from vilseg_data.world.language import caption
from vilseg_data.world.scene import draw_scene, labels, owners, visible

EACH_WORLD = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
POSITIONS = {"left", "right", "above", "below", "under", "on", "behind", "top", "middle", "beside"}


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text)


def nouns_of(world: WorldKind) -> dict[str, str]:
    return {word: name for name in world.names for word in (name, *world.synonyms[name])}


def mentioned(text: str, world: WorldKind) -> set[str]:
    nouns = nouns_of(world)
    return {nouns[word] for word in words(text) if word in nouns}


@EACH_WORLD
def test_every_word_names_one_category(world: WorldKind) -> None:
    nouns, textures = nouns_of(world), set(world.textures)
    assert len(nouns) == 3 * len(world.names)
    assert not nouns.keys() & textures
    spoken = {word for text in world.templates for word in words(text)} | {"the", "a", "and"}
    assert not nouns.keys() & spoken
    assert not POSITIONS & (spoken | nouns.keys() | textures)
    assert len(world.templates) == len(set(world.templates)) == 12


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(WORLDS.values())))
@settings(max_examples=150)
def test_what_is_named_is_in_the_mask(seed: int, world: WorldKind) -> None:
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng, world=world)
    text = caption(scene, visible(scene), rng=rng)
    shown = {world.names[k] for k in np.unique(labels(scene, owners(scene, size=64)))}
    assert mentioned(text, world)
    assert mentioned(text, world) <= shown
    assert len(words(text)) <= 24


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(WORLDS.values())))
@settings(max_examples=60)
def test_adjectives_are_the_textures_of_named_things(seed: int, world: WorldKind) -> None:
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng, world=world)
    said, nouns = words(caption(scene, visible(scene), rng=rng)), nouns_of(world)
    textures = {world.names[thing.category]: thing.texture for thing in scene.things}
    for adjective, noun in pairwise(said):
        if adjective in world.textures:
            assert textures[nouns[noun]] == adjective


@EACH_WORLD
def test_how_often_things_stuff_and_adjectives_are_named(world: WorldKind) -> None:
    things, stuff, adjectives, synonyms = [], [], [], []
    all_nouns = nouns_of(world)
    for seed in range(1500):
        rng = np.random.default_rng(seed)
        scene = draw_scene(rng, world=world)
        text = caption(scene, [True] * (len(scene.stuff) + len(scene.things)), rng=rng)
        said, nouns = words(text), mentioned(text, world)
        things += [world.names[thing.category] in nouns for thing in scene.things]
        stuff += [world.names[surface.category] in nouns for surface in scene.stuff]
        named_things = sum(name in world.things for name in nouns)
        adjectives.append((sum(word in world.textures for word in said), named_things))
        synonyms += [word not in world.names for word in said if word in all_nouns]
    assert np.mean(things) == pytest.approx(0.9, abs=0.03)
    assert np.mean(stuff) == pytest.approx(0.5, abs=0.04)
    given_, possible = np.sum(adjectives, axis=0)
    assert given_ / possible == pytest.approx(0.3, abs=0.04)
    assert np.mean(synonyms) == pytest.approx(0.2, abs=0.03)


def test_what_may_not_be_named_is_not_and_something_is_always_said() -> None:
    for seed in range(80):
        rng = np.random.default_rng(seed)
        scene = draw_scene(rng)
        only = [False] * (len(scene.stuff) + len(scene.things))
        only[0] = True
        text = caption(scene, only, rng=rng)
        assert mentioned(text, scene.world) == {scene.world.names[scene.stuff[0].category]}
