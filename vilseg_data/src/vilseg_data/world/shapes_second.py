# numpy types its ufuncs as returning Any
# mypy: disable-error-code="no-any-return"

"""The twelve shapes of the second world, each a test of points in its unit square.

u, v: float32 (h, w) in [-1, 1], v points down. Returns bool (h, w), true inside.
"""

from collections.abc import Callable

import numpy as np

from vilseg_data.world.shapes import Mask
from vilseg_data.world.textures import Grid


def _heart(u: Grid, v: Grid) -> Mask:
    x, y = 1.25 * u, 0.15 - 1.25 * v
    square = x * x + y * y - 1.0
    return square * square * square < x * x * y * y * y


def _arrow(u: Grid, v: Grid) -> Mask:
    head = (v > -0.95) & (v < 0.05) & (np.abs(u) < 0.85 * (v + 0.95))
    return head | ((np.abs(u) < 0.28) & (v >= 0.05) & (v < 0.92))


def _fish(u: Grid, v: Grid) -> Mask:
    along = u + 0.25
    tail = (u > 0.2) & (u < 0.92) & (np.abs(v) < 0.85 * (u - 0.2) + 0.06)
    return (along * along / 0.46 + v * v / 0.26 < 1.0) | tail


def _house(u: Grid, v: Grid) -> Mask:
    roof = (v > -0.95) & (v < -0.1) & (np.abs(u) < 1.05 * (v + 0.95))
    return roof | ((np.abs(u) < 0.62) & (v >= -0.1) & (v < 0.85))


def _bolt(u: Grid, v: Grid) -> Mask:
    upper = (v > -0.95) & (v < 0.2) & (np.abs(u + 0.05 + 0.4 * v) < 0.36)
    lower = (v >= -0.1) & (v < 0.95) & (np.abs(u - 0.3 + 0.55 * v) < 0.42 * (0.95 - v))
    return upper | lower


def _cup(u: Grid, v: Grid) -> Mask:
    bowl = (v > -0.75) & (v < 0.8) & (np.abs(u + 0.2) < 0.62 - 0.16 * (v + 0.75))
    across = u - 0.42
    square = across * across + v * v
    return bowl | ((u > 0.2) & (square < 0.26) & (square > 0.07))


def _leaf(u: Grid, v: Grid) -> Mask:
    left, low = u + 0.42, v + 0.42
    right, high = u - 0.42, v - 0.42
    return (left * left + low * low < 1.1) & (right * right + high * high < 1.1)


def _bell(u: Grid, v: Grid) -> Mask:
    down = (v + 0.9) / 1.4
    dome = (v > -0.9) & (v < 0.5) & (np.abs(u) < 0.2 + 0.5 * np.sqrt(np.maximum(down, 0.0)))
    return dome | ((np.abs(u) < 0.88) & (v >= 0.5) & (v < 0.8))


def _boat(u: Grid, v: Grid) -> Mask:
    hull = (v > 0.2) & (v < 0.8) & (np.abs(u) < 0.95 - 0.6 * (v - 0.2))
    sail = (v > -0.95) & (v < 0.05) & (u > -0.3) & (u < 0.95 * (v + 0.95) - 0.3)
    return hull | sail | ((np.abs(u + 0.3) < 0.08) & (v > -0.95) & (v < 0.3))


def _hourglass(u: Grid, v: Grid) -> Mask:
    return (np.abs(v) < 0.92) & (np.abs(u) < 0.14 + 0.7 * np.abs(v))


def _crown(u: Grid, v: Grid) -> Mask:
    spike = 1.0 - 2.0 * np.abs((1.75 * u + 0.5) % 1.0 - 0.5)
    return (np.abs(u) < 0.85) & (v < 0.75) & (v > 0.05 - 0.95 * spike)


def _butterfly(u: Grid, v: Grid) -> Mask:
    side = np.abs(u)
    above, below = v + 0.38, v - 0.42
    wing = (side - 0.5) ** 2 / 0.19 + above * above / 0.24 < 1.0
    hind = (side - 0.42) ** 2 / 0.12 + below * below / 0.2 < 1.0
    return wing | hind | ((side < 0.1) & (np.abs(v) < 0.8))


SHAPES_SECOND: dict[str, Callable[[Grid, Grid], Mask]] = {
    "heart": _heart,
    "arrow": _arrow,
    "fish": _fish,
    "house": _house,
    "bolt": _bolt,
    "cup": _cup,
    "leaf": _leaf,
    "bell": _bell,
    "boat": _boat,
    "hourglass": _hourglass,
    "crown": _crown,
    "butterfly": _butterfly,
}
