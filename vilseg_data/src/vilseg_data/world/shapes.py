# numpy types its ufuncs as returning Any
# mypy: disable-error-code="no-any-return"

"""The twelve shapes of the world, each a test of points in its unit square.

u, v: float32 (h, w) in [-1, 1], v points down. Returns bool (h, w), true inside.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Grid = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def _ball(u: Grid, v: Grid) -> Mask:
    return u * u + v * v < 0.85


def _box(u: Grid, v: Grid) -> Mask:
    return np.maximum(np.abs(u), np.abs(v)) < 0.78


def _tent(u: Grid, v: Grid) -> Mask:
    return (v < 0.75) & (np.abs(u) < 0.58 * (v + 0.95))


def _cross(u: Grid, v: Grid) -> Mask:
    across, along = np.abs(u), np.abs(v)
    return (np.minimum(across, along) < 0.3) & (np.maximum(across, along) < 0.95)


def _ring(u: Grid, v: Grid) -> Mask:
    square = u * u + v * v
    return (square < 0.9) & (square > 0.25)


def _star(u: Grid, v: Grid) -> Mask:
    turn = (np.arctan2(u, -v) * (5.0 / (2.0 * np.pi)) + 0.5) % 1.0 - 0.5
    return np.sqrt(u * u + v * v) < 1.0 - 1.2 * np.abs(turn)


def _moon(u: Grid, v: Grid) -> Mask:
    shifted = u - 0.5
    return (u * u + v * v < 0.9) & (shifted * shifted + v * v > 0.56)


def _kite(u: Grid, v: Grid) -> Mask:
    below = v + 0.3
    return np.abs(u) / 0.68 + np.where(below < 0.0, below / -0.68, below / 1.28) < 1.0


def _log(u: Grid, v: Grid) -> Mask:
    beyond = np.maximum(np.abs(u) - 0.6, 0.0)
    return beyond * beyond + v * v < 0.15


def _flower(u: Grid, v: Grid) -> Mask:
    return np.sqrt(u * u + v * v) < 0.64 + 0.32 * np.cos(6.0 * np.arctan2(u, v))


def _mushroom(u: Grid, v: Grid) -> Mask:
    cap = (v < 0.05) & (u * u + 1.1 * (v - 0.05) ** 2 < 0.88)
    return cap | ((np.abs(u) < 0.26) & (v >= 0.05) & (v < 0.9))


def _tree(u: Grid, v: Grid) -> Mask:
    tier = (v + 0.98) / 0.46
    crown = (v < 0.4) & (np.abs(u) < 0.08 + 0.13 * np.floor(tier) + 0.42 * (tier % 1.0))
    return (crown & (v > -0.98)) | ((np.abs(u) < 0.16) & (v >= 0.4) & (v < 0.95))


SHAPES: dict[str, Callable[[Grid, Grid], Mask]] = {
    "ball": _ball,
    "box": _box,
    "tent": _tent,
    "cross": _cross,
    "ring": _ring,
    "star": _star,
    "moon": _moon,
    "kite": _kite,
    "log": _log,
    "flower": _flower,
    "mushroom": _mushroom,
    "tree": _tree,
}
