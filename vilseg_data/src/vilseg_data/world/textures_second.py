# numpy types its ufuncs as returning Any
# mypy: disable-error-code="no-any-return"

"""Two-tone textures of the second world; grids, parameters and mixes as in `textures.py`."""

import numpy as np

from vilseg_data.world.textures import NOISE, TAU, Grid, StuffTexture, ThingTexture


def _blobs(x: Grid, y: Grid, step: float, noise: Grid) -> Grid:
    """Noise in [0, 1] that varies over `step` image units, interpolated between its points."""
    gx, gy = x / step + 1.0, y / step + 1.0
    column, row = gx.astype(np.int32), gy.astype(np.int32)
    fx, fy = gx - column, gy - row
    column, row = column % (NOISE - 1), row % (NOISE - 1)
    top = noise[row, column] * (1.0 - fx) + noise[row, column + 1] * fx
    low = noise[row + 1, column] * (1.0 - fx) + noise[row + 1, column + 1] * fx
    return top * (1.0 - fy) + low * fy


def _plaid(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    del noise
    warp = np.floor(x / (5.0 + 3.0 * p[0]) + p[1]) % 2.0
    weft = np.floor(y / (5.0 + 3.0 * p[2]) + p[3]) % 2.0
    return 0.5 * (warp + weft)


def _lava(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    return (_blobs(x, y, 7.0 + 3.0 * p[0], noise) > 0.5).astype(np.float32)


def _snow(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    side = 2.0 + p[0]
    flake = noise[(y / side).astype(np.int32) % NOISE, (x / side).astype(np.int32) % NOISE]
    return (flake > 0.82).astype(np.float32)


def _rain(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    lane = ((x - 0.35 * y) / (2.4 + 1.2 * p[0]) + 64.0).astype(np.int32) % NOISE
    fall = (y / (9.0 + 4.0 * p[1]) + 8.0 * noise[0, lane]) % 1.0
    return ((fall < 0.45) & (lane % 2 > 0)).astype(np.float32)


def _marble(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    bend = 9.0 * _blobs(x, y, 16.0, noise)
    along = (x + y) * (TAU / (22.0 + 8.0 * p[0])) + bend + TAU * p[1]
    return (0.5 + 0.5 * np.sin(along)).astype(np.float32)


def _pebbles(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    del noise
    side = 7.0 + 3.0 * p[0]
    row = np.floor(y / side + p[1])
    dx = (x / side + 0.5 * (row % 2) + p[2]) % 1.0 - 0.5
    dy = (y / side + p[1]) % 1.0 - 0.5
    return (dx * dx + dy * dy < 0.16).astype(np.float32)


def _furrows(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    del noise
    return np.mod((0.8 * x + 0.6 * y) / (6.0 + 3.0 * p[0]) + p[1], 1.0)


def _lattice(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    del noise
    side = 8.0 + 4.0 * p[0]
    across, along = (x / side + p[1]) % 1.0, (y / side + p[2]) % 1.0
    return (np.minimum(across, along) * side > 1.8).astype(np.float32)


def _pond(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    del noise
    dx, dy = x - (16.0 + 64.0 * p[0]), y - (16.0 + 64.0 * p[1])
    return 0.5 + 0.5 * np.sin(np.sqrt(dx * dx + dy * dy) * (TAU / (6.0 + 3.0 * p[2])))


def _basket(x: Grid, y: Grid, p: tuple[float, ...], noise: Grid) -> Grid:
    del noise
    side = 9.0 + 4.0 * p[0]
    turned = (np.floor(x / side + p[1]) + np.floor(y / side + p[2])) % 2.0 > 0.0
    along = np.where(turned, x / side + p[1], y / side + p[2])
    return (np.floor(along * 4.0) % 2.0).astype(np.float32)


STUFF_TEXTURES_SECOND: dict[str, StuffTexture] = {
    "plaid": _plaid,
    "lava": _lava,
    "snow": _snow,
    "rain": _rain,
    "marble": _marble,
    "pebbles": _pebbles,
    "furrows": _furrows,
    "lattice": _lattice,
    "pond": _pond,
    "basket": _basket,
}


def _solid(u: Grid, v: Grid) -> Grid:
    del v
    return np.zeros_like(u)


def _wavy(u: Grid, v: Grid) -> Grid:
    return (np.floor(3.2 * v + 0.5 * np.sin(5.0 * u)) % 2.0).astype(np.float32)


def _spotted(u: Grid, v: Grid) -> Grid:
    row = np.floor(1.7 * v)
    du, dv = (1.7 * u + 0.5 * (row % 2)) % 1.0 - 0.5, (1.7 * v) % 1.0 - 0.5
    return (du * du + dv * dv < 0.1).astype(np.float32)


def _slanted(u: Grid, v: Grid) -> Grid:
    return (np.floor(2.8 * (u + v)) % 2.0).astype(np.float32)


def _netted(u: Grid, v: Grid) -> Grid:
    rising, falling = (1.9 * (u + v)) % 1.0, (1.9 * (u - v)) % 1.0
    return (np.minimum(rising, falling) < 0.25).astype(np.float32)


def _quartered(u: Grid, v: Grid) -> Grid:
    return ((u > 0.0) ^ (v > 0.0)).astype(np.float32)


THING_TEXTURES_SECOND: dict[str, ThingTexture] = {
    "solid": _solid,
    "wavy": _wavy,
    "spotted": _spotted,
    "slanted": _slanted,
    "netted": _netted,
    "quartered": _quartered,
}
