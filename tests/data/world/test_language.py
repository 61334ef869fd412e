"""Captions name some of what is there, in the words of the world, and never where it is."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vilseg_data.world.language import SYNONYMS, TEMPLATES, caption
from vilseg_data.world.scene import NAMES, STUFF, TEXTURES, draw_scene, labels, owners, visible

NOUNS = {word: name for name in NAMES for word in (name, *SYNONYMS[name])}
POSITIONS = {"left", "right", "above", "below", "under", "on", "behind", "top", "middle", "beside"}


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text)


def mentioned(text: str) -> set[str]:
    return {NOUNS[word] for word in words(text) if word in NOUNS}


def test_every_word_names_one_category() -> None:
    assert len(NOUNS) == 3 * len(NAMES)
    assert not NOUNS.keys() & set(TEXTURES)
    spoken = {word for template in TEMPLATES for word in words(template)} | {"the", "a", "and"}
    assert not NOUNS.keys() & spoken
    assert not POSITIONS & (spoken | NOUNS.keys() | set(TEXTURES))
    assert len(TEMPLATES) == len(set(TEMPLATES)) == 12


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=150)
def test_what_is_named_is_in_the_mask(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng)
    text = caption(scene, visible(scene), rng=rng)
    shown = {NAMES[k] for k in np.unique(labels(scene, owners(scene, size=64)))}
    assert mentioned(text)
    assert mentioned(text) <= shown
    assert len(words(text)) <= 24


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_adjectives_are_the_textures_of_named_things(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng)
    said = words(caption(scene, visible(scene), rng=rng))
    textures = {NAMES[thing.category]: thing.texture for thing in scene.things}
    for adjective, noun in pairwise(said):
        if adjective in TEXTURES:
            assert textures[NOUNS[noun]] == adjective


def test_how_often_things_stuff_and_adjectives_are_named() -> None:
    things, stuff, adjectives, synonyms = [], [], [], []
    for seed in range(1500):
        rng = np.random.default_rng(seed)
        scene = draw_scene(rng)
        text = caption(scene, [True] * (len(scene.stuff) + len(scene.things)), rng=rng)
        said, nouns = words(text), mentioned(text)
        things += [NAMES[thing.category] in nouns for thing in scene.things]
        stuff += [NAMES[surface.category] in nouns for surface in scene.stuff]
        named_things = sum(NAMES.index(name) >= len(STUFF) for name in nouns)
        adjectives.append((sum(word in TEXTURES for word in said), named_things))
        synonyms += [word not in NAMES for word in said if word in NOUNS]
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
        assert mentioned(text) == {NAMES[scene.stuff[0].category]}
