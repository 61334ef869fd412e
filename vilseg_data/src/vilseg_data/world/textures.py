# numpy types its ufuncs as returning Any
# mypy: disable-error-code="no-any-return"

"""Two-tone textures of the world: where a surface shows its first tone and where its second.

Shapes: x, y, u, v are float32 grids of one shape (h, w); every texture returns a (h, w) float32
mix in [0, 1], 0 for the first tone. Stuff is drawn in image units (the image is 64 wide, y points
down), things in the unit square of their shape (u, v in [-1, 1]).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Grid = npt.NDArray[np.float32]
StuffTexture = Callable[[Grid, Grid, tuple[float, ...], Grid], Grid]
ThingTexture = Callable[[Grid, Grid], Grid]

TAU = 2.0 * np.pi
NOISE = 64


def _grass(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    blade = (x / (1.4 + 0.6 * p[0]) + 0.06 * y).astype(np.int32) % NOISE
    height = (y / (6.0 + 4.0 * p[1]) + 8.0 * noise[0, blade]).astype(np.int32) % NOISE
    return noise[height, blade]


def _water(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    del noise
    swell = 0.35 * np.sin(x * (TAU / (18.0 + 10.0 * p[0])) + TAU * p[1])
    return 0.5 + 0.5 * np.sin(TAU * (y / (6.0 + 3.0 * p[2]) + swell + p[3]))


def _brick(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    del noise
    height, width = 6.0 + 3.0 * p[0], 12.0 + 4.0 * p[1]
    row = np.floor(y / height + p[2])
    along = (x / width + 0.5 * (row % 2) + p[3]) % 1.0
    across = (y / height + p[2]) % 1.0
    return ((along * width > 1.5) & (across * height > 1.5)).astype(np.float32)


def _sky(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    del noise
    return np.clip(y / 64.0 + 0.4 * (p[0] - 0.5) * (x / 64.0 - 0.5), 0.0, 1.0)


def _sand(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    del p
    return noise[y.astype(np.int32) % NOISE, x.astype(np.int32) % NOISE]


def _tiles(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    del noise
    side = 7.0 + 4.0 * p[0]
    return (np.floor(x / side + p[1]) + np.floor(y / side + p[2])) % 2.0


def _wood(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    del noise
    across = x - 96.0 * p[0] + 16.0
    along = 0.12 * (y - 64.0 * p[1])
    return (np.sqrt(across * across + 40.0 * along * along) / (4.0 + 3.0 * p[2])) % 1.0


def _fog(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    step = 14.0 + 6.0 * p[0]
    gx, gy = x / step + 1.0, y / step + 1.0
    column, row = gx.astype(np.int32), gy.astype(np.int32)
    fx, fy = gx - column, gy - row
    fx, fy = fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy)
    column, row = column % (NOISE - 1), row % (NOISE - 1)
    top = noise[row, column] * (1.0 - fx) + noise[row, column + 1] * fx
    low = noise[row + 1, column] * (1.0 - fx) + noise[row + 1, column + 1] * fx
    return top * (1.0 - fy) + low * fy


def _fence(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    del noise
    side = 9.0 + 4.0 * p[0]
    rising = ((x + y) / side + p[1]) % 1.0
    falling = ((x - y) / side + p[2]) % 1.0
    return (np.minimum(rising, falling) * side > 1.8).astype(np.float32)


def _scales(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    del noise
    side = 8.0 + 3.0 * p[0]
    row = np.floor(y / (0.5 * side) + p[1])
    dx = (x / side + 0.5 * (row % 2) + p[2]) % 1.0 - 0.5
    dy = 0.5 * ((y / (0.5 * side) + p[1]) % 1.0)
    return np.clip(2.2 * np.sqrt(dx * dx + dy * dy) - 0.1, 0.0, 1.0)


STUFF_TEXTURES: dict[str, StuffTexture] = {
    "grass": _grass,
    "water": _water,
    "brick": _brick,
    "sky": _sky,
    "sand": _sand,
    "tiles": _tiles,
    "wood": _wood,
    "fog": _fog,
    "fence": _fence,
    "scales": _scales,
}


def _plain(u: Grid, v: Grid) -> Grid:
    del v
    return np.zeros_like(u)


def _striped(u: Grid, v: Grid) -> Grid:
    del u
    return (np.floor(v * 4.0) % 2.0).astype(np.float32)


def _dotted(u: Grid, v: Grid) -> Grid:
    du, dv = (2.2 * u) % 1.0 - 0.5, (2.2 * v) % 1.0 - 0.5
    return (du * du + dv * dv < 0.085).astype(np.float32)


def _checkered(u: Grid, v: Grid) -> Grid:
    return np.mod(np.floor(u * 2.6) + np.floor(v * 2.6), 2.0)


def _ringed(u: Grid, v: Grid) -> Grid:
    return np.mod(np.floor(np.sqrt(u * u + v * v) * 4.6), 2.0)


def _split(u: Grid, v: Grid) -> Grid:
    del v
    return (u > 0.0).astype(np.float32)


THING_TEXTURES: dict[str, ThingTexture] = {
    "plain": _plain,
    "striped": _striped,
    "dotted": _dotted,
    "checkered": _checkered,
    "ringed": _ringed,
    "split": _split,
}
