"""One scene of the world: draw its parameters, then paint it at any size.

Parameters are in image units (the image is 64 wide, whatever its size in pixels), so that one
scene is one scene at every size. Category ids are those of its `WorldKind`.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from vilseg_data.world.first import FIRST
from vilseg_data.world.kinds import WorldKind
from vilseg_data.world.shapes import Mask
from vilseg_data.world.textures import NOISE, Grid

UNIT = 64.0
P_SPLIT = 0.5
P_COUNT = (0.3, 0.7)  # cumulative: one, two, else three things
P_TYPICAL_TEXTURE = 0.85
P_PRIOR_HUE = 0.6
RADIUS = (12.0, 19.0)
THING_TURN, STUFF_TURN = 0.35, 0.08
CLEARANCE, TRIES = 0.85, 16  # centres at least 0.85 of the sum of the radii apart where possible
VISIBLE_THING, VISIBLE_STUFF = 0.35, 0.04  # share of its own area; share of the image

Compositions = Literal["any", "seen", "held-out"]
Tones = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True, eq=False)
class Stuff:
    """A texture that fills the image or one side of the split."""

    category: int
    tones: Tones
    turn: float
    params: tuple[float, ...]
    noise: Grid


@dataclass(frozen=True)
class Thing:
    """A shape with its texture: centre and radius in image units, turn in radians."""

    category: int
    tones: Tones
    turn: float
    texture: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True, eq=False)
class Scene:
    """Stuff (one, or two divided by a slanted line) and things, later ones in front."""

    world: WorldKind
    stuff: tuple[Stuff, ...]
    things: tuple[Thing, ...]
    split_turn: float
    split_offset: float


def _tones(prior_hue: float, rng: np.random.Generator) -> Tones:
    prior, hue, jitter, shift = rng.random(), rng.random(), rng.normal(), rng.normal()
    value, contrast, sign, low, high = rng.random(5).tolist()
    if prior < P_PRIOR_HUE:
        hue = prior_hue + 0.03 * jitter
    first = 0.3 + 0.65 * value
    step = 0.2 + 0.4 * contrast
    down = sign < 0.5 if step <= first - 0.1 and first + step <= 1.0 else first + step > 1.0
    second = max(first - step, 0.05) if down else first + step
    return (
        colorsys.hsv_to_rgb(hue % 1.0, 0.35 + 0.5 * low, first),
        colorsys.hsv_to_rgb((hue + 0.03 * shift) % 1.0, 0.35 + 0.5 * high, second),
    )


def _stuff(category: int, world: WorldKind, rng: np.random.Generator) -> Stuff:
    return Stuff(
        category=category,
        tones=_tones(world.hues[world.names[category]], rng),
        turn=STUFF_TURN * rng.normal(),
        params=tuple(rng.random(4).tolist()),
        noise=rng.random((NOISE, NOISE), dtype=np.float32),
    )


def _place(radius: float, others: Sequence[Thing], rng: np.random.Generator) -> tuple[float, float]:
    margin = 0.7 * radius
    tries = (margin + (UNIT - 2.0 * margin) * rng.random((TRIES, 2))).tolist()
    best, best_clearance = (tries[0][0], tries[0][1]), -1.0
    for x, y in tries:
        clearance = min(
            (np.hypot(x - o.x, y - o.y) / (radius + o.radius) for o in others), default=np.inf
        )
        if clearance > best_clearance:
            best, best_clearance = (x, y), clearance
        if clearance >= CLEARANCE:
            break
    return best


def _thing(
    category: int,
    others: Sequence[Thing],
    world: WorldKind,
    rng: np.random.Generator,
    *,
    compositions: Compositions,
) -> Thing:
    name = world.names[category]
    typical, other = rng.random(), int(rng.integers(len(world.textures)))
    radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * rng.random()
    x, y = _place(radius, others, rng)
    texture = world.typical[name] if typical < P_TYPICAL_TEXTURE else world.texture_names[other]
    held_out = world.held_out.get(name)
    if compositions == "seen" and texture == held_out:
        texture = world.texture_names[(other + 1) % len(world.textures)]
    elif compositions == "held-out" and held_out is not None:
        texture = held_out
    return Thing(
        category=category,
        tones=_tones(world.hues[name], rng),
        turn=THING_TURN * rng.normal(),
        texture=texture,
        x=x,
        y=y,
        radius=radius,
    )


def draw_scene(
    rng: np.random.Generator,
    *,
    world: WorldKind = FIRST,
    compositions: Compositions = "any",
) -> Scene:
    """Draw the parameters of one scene.

    `compositions` "seen" gives no thing the texture that `world.held_out` names for it, and
    "held-out" gives it that texture always; what else is drawn stays the same.
    """
    two = rng.random() < P_SPLIT
    kinds = rng.choice(len(world.stuff), size=2, replace=False)
    stuff = tuple(_stuff(int(kind), world, rng) for kind in kinds[: 2 if two else 1])
    split_turn, split_offset = 2.0 * np.pi * rng.random(), 20.0 * (rng.random() - 0.5)
    level = rng.random()
    count = 1 if level < P_COUNT[0] else 2 if level < P_COUNT[1] else 3
    things: list[Thing] = []
    for kind in rng.choice(len(world.things), size=count, replace=False):
        category = len(world.stuff) + int(kind)
        things.append(_thing(category, things, world, rng, compositions=compositions))
    return Scene(world, stuff, tuple(things), split_turn, split_offset)


@cache
def _grid(size: int) -> tuple[Grid, Grid]:
    centres = ((np.arange(size) + 0.5) * (UNIT / size)).astype(np.float32)
    x, y = np.meshgrid(centres, centres)
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


def _cover(thing: Thing, size: int) -> tuple[tuple[slice, slice], Grid, Grid]:
    """The window of pixels that can hold the thing, and its unit coordinates there."""
    scale = size / UNIT
    reach = thing.radius * 1.42
    left, top = (max(0, int((c - reach) * scale)) for c in (thing.x, thing.y))
    right, bottom = (min(size, int((c + reach) * scale) + 2) for c in (thing.x, thing.y))
    window = (slice(top, bottom), slice(left, right))
    x, y = _grid(size)
    dx = (x[window] - np.float32(thing.x)) * np.float32(1.0 / thing.radius)
    dy = (y[window] - np.float32(thing.y)) * np.float32(1.0 / thing.radius)
    cos, sin = np.float32(np.cos(thing.turn)), np.float32(np.sin(thing.turn))
    return window, cos * dx + sin * dy, cos * dy - sin * dx


def _inside(scene: Scene, thing: Thing, u: Grid, v: Grid) -> Mask:
    return scene.world.things[scene.world.names[thing.category]](u, v)


def owners(scene: Scene, *, size: int) -> npt.NDArray[np.uint8]:
    """Which surface shows at each pixel: (size, size), stuff first, then things, from 0."""
    owner = np.zeros((size, size), dtype=np.uint8)
    if len(scene.stuff) == 2:
        x, y = _grid(size)
        cos, sin = np.float32(np.cos(scene.split_turn)), np.float32(np.sin(scene.split_turn))
        side = cos * (x - np.float32(UNIT / 2)) + sin * (y - np.float32(UNIT / 2))
        owner[side > np.float32(scene.split_offset)] = 1
    for index, thing in enumerate(scene.things, start=len(scene.stuff)):
        window, u, v = _cover(thing, size)
        owner[window][_inside(scene, thing, u, v)] = index
    return owner


def paint(scene: Scene, owner: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The picture, (3, size, size), of the surfaces in `owner` (from `owners`)."""
    size = owner.shape[0]
    x, y = _grid(size)
    mix = np.empty((size, size), dtype=np.float32)
    shift = np.float32(UNIT / 4)
    for index, stuff in enumerate(scene.stuff):
        cos, sin = np.float32(np.cos(stuff.turn)), np.float32(np.sin(stuff.turn))
        turned_x, turned_y = cos * x + sin * y + shift, cos * y - sin * x + shift
        draw = scene.world.stuff[scene.world.names[stuff.category]]
        texture = draw(turned_x, turned_y, stuff.params, stuff.noise)
        np.copyto(mix, texture, where=True if index == 0 else owner == index, casting="same_kind")
    for index, thing in enumerate(scene.things, start=len(scene.stuff)):
        window, u, v = _cover(thing, size)
        texture = scene.world.textures[thing.texture](u, v)
        np.copyto(mix[window], texture, where=owner[window] == index, casting="same_kind")
    surfaces = scene.stuff + scene.things
    tones = np.array([surface.tones for surface in surfaces], dtype=np.float32) * 255.0
    first, step = tones[:, 0], tones[:, 1] - tones[:, 0]
    image = np.empty((3, size, size), dtype=np.uint8)
    for channel in range(3):
        image[channel] = first[:, channel][owner] + step[:, channel][owner] * mix
    return image


def labels(scene: Scene, owner: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The category id at each pixel, (size, size)."""
    categories = [surface.category for surface in scene.stuff + scene.things]
    return np.array(categories, dtype=np.uint8)[owner]


def visible(scene: Scene) -> tuple[bool, ...]:
    """Which surfaces (stuff first, then things) show enough to be spoken of, at any size."""
    owner = owners(scene, size=int(UNIT))
    area = np.bincount(owner.ravel(), minlength=len(scene.stuff) + len(scene.things))
    flags = [bool(area[k] >= VISIBLE_STUFF * owner.size) for k in range(len(scene.stuff))]
    for index, thing in enumerate(scene.things, start=len(scene.stuff)):
        _, u, v = _cover(thing, int(UNIT))
        whole = np.count_nonzero(_inside(scene, thing, u, v))
        flags.append(bool(area[index] >= max(VISIBLE_THING * whole, 1)))
    return tuple(flags)
