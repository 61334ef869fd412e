"""Scenes: what is drawn, where it shows, and that size changes the picture only."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vilseg_data.world import WORLDS, Compositions, WorldKind
from vilseg_data.world.scene import RADIUS, Scene, draw_scene, labels, owners, paint, visible

EACH_WORLD = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
ANY_WORLD = st.sampled_from(list(WORLDS.values()))
SEEDS = st.integers(0, 2**32 - 1)


def scene_of(seed: int, world: WorldKind, compositions: Compositions = "any") -> Scene:
    return draw_scene(np.random.default_rng(seed), world=world, compositions=compositions)


@EACH_WORLD
def test_ten_kinds_of_stuff_and_twelve_of_things(world: WorldKind) -> None:
    assert (len(world.stuff), len(world.things), len(set(world.names))) == (10, 12, 22)
    assert set(world.typical) == set(world.things)
    assert set(world.hues) == set(world.synonyms) == set(world.names)
    textures = list(world.typical.values())
    assert {name: textures.count(name) for name in world.textures} == dict.fromkeys(
        world.textures, 2
    )
    assert set(world.unseen) < set(world.names)
    for thing, texture in world.held_out.items():
        assert thing in world.things
        assert texture in world.textures
        assert texture != world.typical[thing]


def test_the_worlds_share_no_surface() -> None:
    first, second = WORLDS.values()
    assert not set(first.names) & set(second.names)
    assert not set(first.textures) & set(second.textures)
    assert set(first.templates) & set(second.templates) == {"{}"}


@given(SEEDS, ANY_WORLD)
@settings(max_examples=60)
def test_held_out_compositions_change_textures_alone(seed: int, world: WorldKind) -> None:
    plain, seen, held_out = (
        scene_of(seed, world, compositions) for compositions in ("any", "seen", "held-out")
    )
    for thing, without, forced in zip(plain.things, seen.things, held_out.things, strict=True):
        texture = world.held_out.get(world.names[thing.category])
        assert without.texture == thing.texture or thing.texture == texture != without.texture
        assert forced.texture == (thing.texture if texture is None else texture)
        for other in (without, forced):
            assert dataclasses.replace(other, texture=thing.texture) == thing
    np.testing.assert_array_equal(owners(plain, size=32), owners(seen, size=32))
    np.testing.assert_array_equal(owners(plain, size=32), owners(held_out, size=32))


@given(SEEDS, ANY_WORLD)
@settings(max_examples=60)
def test_a_scene_holds_what_the_world_promises(seed: int, world: WorldKind) -> None:
    scene = scene_of(seed, world)
    assert 1 <= len(scene.stuff) <= 2
    assert 1 <= len(scene.things) <= 3
    categories = [surface.category for surface in scene.stuff + scene.things]
    assert len(set(categories)) == len(categories)
    assert all(stuff.category < len(world.stuff) for stuff in scene.stuff)
    for thing in scene.things:
        assert len(world.stuff) <= thing.category < len(world.names)
        assert RADIUS[0] <= thing.radius <= RADIUS[1]
        assert 0.0 < thing.x < 64.0
        assert 0.0 < thing.y < 64.0


@given(SEEDS, st.sampled_from([32, 64, 97]), ANY_WORLD)
@settings(max_examples=40)
def test_masks_hold_the_ids_of_the_scene_alone(seed: int, size: int, world: WorldKind) -> None:
    scene = scene_of(seed, world)
    owner = owners(scene, size=size)
    mask = labels(scene, owner)
    assert mask.shape == (size, size)
    assert set(np.unique(mask)) <= {surface.category for surface in scene.stuff + scene.things}
    picture = paint(scene, owner)
    assert picture.shape == (3, size, size)
    assert picture.dtype == np.uint8


@given(SEEDS, ANY_WORLD)
@settings(max_examples=40)
def test_a_larger_picture_is_the_same_scene(seed: int, world: WorldKind) -> None:
    scene = scene_of(seed, world)
    small, large = owners(scene, size=64), owners(scene, size=192)
    # The centre of a pixel at 64 is the centre of the middle one of its nine at 192.
    np.testing.assert_array_equal(small, large[1::3, 1::3])


@given(SEEDS, ANY_WORLD)
@settings(max_examples=40)
def test_what_is_visible_shows_in_the_mask(seed: int, world: WorldKind) -> None:
    scene = scene_of(seed, world)
    flags = visible(scene)
    area = np.bincount(owners(scene, size=64).ravel(), minlength=len(flags))
    assert len(flags) == len(scene.stuff) + len(scene.things)
    assert any(flags)
    assert all(pixels > 0 for pixels, flag in zip(area, flags, strict=True) if flag)
    # The last thing stands in front of everything.
    assert flags[-1]


@pytest.mark.parametrize(
    ("world", "name"), [(world, name) for world in WORLDS.values() for name in world.things]
)
def test_every_shape_fills_a_fair_part_of_its_square_and_stays_inside(
    world: WorldKind, name: str
) -> None:
    line = np.linspace(-1.4, 1.4, 141, dtype=np.float32)
    u, v = np.meshgrid(line, line)
    inside = world.things[name](u, v)
    square = (np.abs(u) <= 1.0) & (np.abs(v) <= 1.0)
    assert not (inside & ~square).any()
    assert 0.15 < inside[square].mean() < 0.75


@pytest.mark.parametrize(
    ("world", "name"), [(world, name) for world in WORLDS.values() for name in world.textures]
)
def test_thing_textures_mix_two_tones(world: WorldKind, name: str) -> None:
    line = np.linspace(-1.0, 1.0, 81, dtype=np.float32)
    mix = world.textures[name](*np.meshgrid(line, line))
    assert set(np.unique(mix)) <= {0.0, 1.0}
    assert mix.mean() == 0.0 if name in ("plain", "solid") else 0.2 < mix.mean() < 0.8


@given(SEEDS)
@settings(max_examples=20)
def test_stuff_textures_stay_in_range_and_are_no_flat_colour(seed: int) -> None:
    rng = np.random.default_rng(seed)
    line = np.arange(64, dtype=np.float32) + np.float32(0.5)
    x, y = np.meshgrid(line, line)
    noise = rng.random((64, 64), dtype=np.float32)
    params = tuple(rng.random(4).tolist())
    for name, texture in [item for world in WORLDS.values() for item in world.stuff.items()]:
        mix = texture(x, y, params, noise)
        assert mix.min() >= -1e-5, name
        assert mix.max() <= 1.0 + 1e-5, name
        assert mix.std() > 0.02, name


@EACH_WORLD
def test_shares_of_the_choices(world: WorldKind) -> None:
    scenes = [scene_of(seed, world) for seed in range(600)]
    assert np.mean([len(scene.stuff) == 2 for scene in scenes]) == pytest.approx(0.5, abs=0.08)
    counts = np.bincount([len(scene.things) for scene in scenes], minlength=4)[1:] / len(scenes)
    np.testing.assert_allclose(counts, [0.3, 0.4, 0.3], atol=0.08)
    things = [thing for scene in scenes for thing in scene.things]
    typical = [thing.texture == world.typical[world.names[thing.category]] for thing in things]
    # Typical by choice, or by chance among the six.
    assert np.mean(typical) == pytest.approx(0.85 + 0.15 / 6, abs=0.04)


@EACH_WORLD
def test_no_class_is_rare_and_none_rules(world: WorldKind) -> None:
    classes, stuff = len(world.names), len(world.stuff)
    pixels = np.zeros(classes)
    for seed in range(600):
        scene = scene_of(seed, world)
        pixels += np.bincount(labels(scene, owners(scene, size=32)).ravel(), minlength=classes)
    share = pixels / pixels.sum()
    assert share[:stuff].min() > 0.04
    assert share[:stuff].max() < 0.14
    assert share[stuff:].min() > 0.006
    assert share[stuff:].max() < 0.05


@EACH_WORLD
def test_colour_alone_does_not_tell_the_class(world: WorldKind) -> None:
    """Naming a pixel by the class with the nearest mean colour is hardly better than chance."""
    colours, classes = [], []
    for seed in range(300):
        scene = scene_of(seed, world)
        owner = owners(scene, size=32)
        colours.append(paint(scene, owner).reshape(3, -1).T[::7])
        classes.append(labels(scene, owner).ravel()[::7])
    colour, label = np.concatenate(colours).astype(float), np.concatenate(classes)
    half = len(label) // 2
    means = np.stack(
        [colour[:half][label[:half] == k].mean(axis=0) for k in range(len(world.names))]
    )
    distance = np.linalg.norm(colour[half:, None] - means, axis=-1)
    assert np.mean(distance.argmin(axis=1) == label[half:]) < 0.2
