"""Colours that stay apart for every eye.

Legend: k colours, uint8 (k, 3) sRGB. Distances are CIE 1976 (CIELAB, D65). A red-green-blind eye is
simulated by the matrices of Machado, Oliveira and Fernandes (2009), severity 1, in linear light.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Colours = NDArray[np.uint8]

_EYES = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [  # without the cones for long waves
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [  # without the cones for medium waves
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
    ]
)
_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
) / np.array([[0.95047], [1.0], [1.08883]])
# A grid of this many steps a channel; lightness kept where it shows on photos and on both pages.
_STEPS = 11
_LIGHTNESS = (38.0, 86.0)
_CHROMA = 32.0
_FIRST = (0, 114, 178)
_MOST = 256


def lab(colours: Colours) -> NDArray[np.float64]:
    """(3, k, 3): CIELAB as seen by a common, a red-blind and a green-blind eye."""
    srgb = colours.astype(np.float64) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.einsum("eij,kj->eki", _EYES, linear), 0, 1)
    xyz = seen @ _TO_XYZ.T
    cube = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(cube, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def distances(colours: Colours) -> NDArray[np.float64]:
    """(k, k): how far two colours are apart for the eye that tells them apart least."""
    seen = lab(colours)
    apart: NDArray[np.float64] = np.linalg.norm(seen[:, :, None] - seen[:, None], axis=-1).min(0)
    return apart


def spread_colours(count: int) -> Colours:
    """(count, 3): each as far as possible from all before it; colour i is always the same."""
    if not 0 <= count <= _MOST:
        repeats = -(-count // _MOST)
        return np.tile(_spread(), (repeats, 1))[:count]
    return _spread()[:count]


@cache
def _spread() -> Colours:
    axis = np.round(np.linspace(0, 255, _STEPS)).astype(np.uint8)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    common = lab(grid)[0]
    light, chroma = common[:, 0], np.hypot(common[:, 1], common[:, 2])
    grid = grid[(light > _LIGHTNESS[0]) & (light < _LIGHTNESS[1]) & (chroma > _CHROMA)]
    candidates = np.concatenate([np.array([_FIRST], dtype=np.uint8), grid])
    seen = lab(candidates)
    chosen, nearest = [0], np.full(len(candidates), np.inf)
    while len(chosen) < _MOST:
        apart = np.linalg.norm(seen - seen[:, chosen[-1]][:, None], axis=-1).min(0)
        nearest = np.minimum(nearest, apart)
        chosen.append(int(nearest.argmax()))
    return candidates[chosen]
