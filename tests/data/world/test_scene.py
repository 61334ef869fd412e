"""Scenes: what is drawn, where it shows, and that size changes the picture only."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vilseg_data.world.scene import (
    HUES,
    NAMES,
    RADIUS,
    STUFF,
    TEXTURES,
    THINGS,
    TYPICAL_TEXTURE,
    Scene,
    draw_scene,
    labels,
    owners,
    paint,
    visible,
)
from vilseg_data.world.shapes import SHAPES
from vilseg_data.world.textures import STUFF_TEXTURES, THING_TEXTURES

SEEDS = st.integers(0, 2**32 - 1)


def scene_of(seed: int) -> Scene:
    return draw_scene(np.random.default_rng(seed))


def test_ten_kinds_of_stuff_and_twelve_of_things() -> None:
    assert (len(STUFF), len(THINGS), len(set(NAMES))) == (10, 12, 22)
    assert set(TYPICAL_TEXTURE) == set(THINGS)
    assert set(HUES) == set(NAMES)
    textures = list(TYPICAL_TEXTURE.values())
    assert {texture: textures.count(texture) for texture in TEXTURES} == dict.fromkeys(TEXTURES, 2)


@given(SEEDS)
@settings(max_examples=60)
def test_a_scene_holds_what_the_world_promises(seed: int) -> None:
    scene = scene_of(seed)
    assert 1 <= len(scene.stuff) <= 2
    assert 1 <= len(scene.things) <= 3
    categories = [surface.category for surface in scene.stuff + scene.things]
    assert len(set(categories)) == len(categories)
    assert all(stuff.category < len(STUFF) for stuff in scene.stuff)
    for thing in scene.things:
        assert len(STUFF) <= thing.category < len(NAMES)
        assert RADIUS[0] <= thing.radius <= RADIUS[1]
        assert 0.0 < thing.x < 64.0
        assert 0.0 < thing.y < 64.0


@given(SEEDS, st.sampled_from([32, 64, 97]))
@settings(max_examples=40)
def test_masks_hold_the_ids_of_the_scene_alone(seed: int, size: int) -> None:
    scene = scene_of(seed)
    owner = owners(scene, size=size)
    mask = labels(scene, owner)
    assert mask.shape == (size, size)
    assert set(np.unique(mask)) <= {surface.category for surface in scene.stuff + scene.things}
    picture = paint(scene, owner)
    assert picture.shape == (3, size, size)
    assert picture.dtype == np.uint8


@given(SEEDS)
@settings(max_examples=40)
def test_a_larger_picture_is_the_same_scene(seed: int) -> None:
    scene = scene_of(seed)
    small, large = owners(scene, size=64), owners(scene, size=192)
    # The centre of a pixel at 64 is the centre of the middle one of its nine at 192.
    np.testing.assert_array_equal(small, large[1::3, 1::3])


@given(SEEDS)
@settings(max_examples=40)
def test_what_is_visible_shows_in_the_mask(seed: int) -> None:
    scene = scene_of(seed)
    flags = visible(scene)
    area = np.bincount(owners(scene, size=64).ravel(), minlength=len(flags))
    assert len(flags) == len(scene.stuff) + len(scene.things)
    assert any(flags)
    assert all(pixels > 0 for pixels, flag in zip(area, flags, strict=True) if flag)
    # The last thing stands in front of everything.
    assert flags[-1]


@pytest.mark.parametrize("name", THINGS)
def test_every_shape_fills_a_fair_part_of_its_square_and_stays_inside(name: str) -> None:
    line = np.linspace(-1.4, 1.4, 141, dtype=np.float32)
    u, v = np.meshgrid(line, line)
    inside = SHAPES[name](u, v)
    square = (np.abs(u) <= 1.0) & (np.abs(v) <= 1.0)
    assert not (inside & ~square).any()
    assert 0.15 < inside[square].mean() < 0.75


@pytest.mark.parametrize("name", THING_TEXTURES)
def test_thing_textures_mix_two_tones(name: str) -> None:
    line = np.linspace(-1.0, 1.0, 81, dtype=np.float32)
    mix = THING_TEXTURES[name](*np.meshgrid(line, line))
    assert set(np.unique(mix)) <= {0.0, 1.0}
    assert mix.mean() == 0.0 if name == "plain" else 0.2 < mix.mean() < 0.8


@given(SEEDS)
@settings(max_examples=20)
def test_stuff_textures_stay_in_range_and_are_no_flat_colour(seed: int) -> None:
    rng = np.random.default_rng(seed)
    line = np.arange(64, dtype=np.float32) + np.float32(0.5)
    x, y = np.meshgrid(line, line)
    noise = rng.random((64, 64), dtype=np.float32)
    params = tuple(rng.random(4).tolist())
    for name, texture in STUFF_TEXTURES.items():
        mix = texture(x, y, params, noise)
        assert mix.min() >= -1e-5, name
        assert mix.max() <= 1.0 + 1e-5, name
        assert mix.std() > 0.02, name


def test_shares_of_the_choices() -> None:
    scenes = [scene_of(seed) for seed in range(600)]
    assert np.mean([len(scene.stuff) == 2 for scene in scenes]) == pytest.approx(0.5, abs=0.08)
    counts = np.bincount([len(scene.things) for scene in scenes], minlength=4)[1:] / len(scenes)
    np.testing.assert_allclose(counts, [0.3, 0.4, 0.3], atol=0.08)
    things = [thing for scene in scenes for thing in scene.things]
    typical = [thing.texture == TYPICAL_TEXTURE[NAMES[thing.category]] for thing in things]
    # Typical by choice, or by chance among the six.
    assert np.mean(typical) == pytest.approx(0.85 + 0.15 / 6, abs=0.04)


def test_no_class_is_rare_and_none_rules() -> None:
    pixels = np.zeros(len(NAMES))
    for seed in range(600):
        scene = scene_of(seed)
        pixels += np.bincount(labels(scene, owners(scene, size=32)).ravel(), minlength=len(NAMES))
    share = pixels / pixels.sum()
    assert share[: len(STUFF)].min() > 0.04
    assert share[: len(STUFF)].max() < 0.14
    assert share[len(STUFF) :].min() > 0.006
    assert share[len(STUFF) :].max() < 0.05


def test_colour_alone_does_not_tell_the_class() -> None:
    """Naming a pixel by the class with the nearest mean colour is hardly better than chance."""
    colours, classes = [], []
    for seed in range(300):
        scene = scene_of(seed)
        owner = owners(scene, size=32)
        colours.append(paint(scene, owner).reshape(3, -1).T[::7])
        classes.append(labels(scene, owner).ravel()[::7])
    colour, label = np.concatenate(colours).astype(float), np.concatenate(classes)
    half = len(label) // 2
    means = np.stack([colour[:half][label[:half] == k].mean(axis=0) for k in range(len(NAMES))])
    distance = np.linalg.norm(colour[half:, None] - means, axis=-1)
    assert np.mean(distance.argmin(axis=1) == label[half:]) < 0.2
