"""Tiles of the InfoNCE kernels by what they multiply and by the number of scores.

Every row is cross-compiled in the tests: nothing spills and shared memory suffices. No row has been
timed. 128 x 128 is the largest tile whose log-sum-exps and gradients stay in registers, and 2**20
scores are 256 tiles of 64 x 64, two for every processor of a GPU of today.
"""

from dataclasses import dataclass
from typing import Literal

Operands = Literal["half", "tf32", "float32"]
"""What a product multiplies: bfloat16 or float16, float32 as tf32, or float32 to the last bit."""


@dataclass(frozen=True)
class Tile:
    """Rows and columns of scores of one program, and how it walks the embedding."""

    rows: int
    columns: int
    step: int
    warps: int
    stages: int


EVERY = 1 << 62

TILES: dict[Operands, tuple[tuple[int, Tile], ...]] = {
    "half": (
        (1 << 20, Tile(64, 64, 64, warps=4, stages=4)),
        (EVERY, Tile(128, 128, 64, warps=8, stages=4)),
    ),
    "tf32": (
        (1 << 20, Tile(64, 64, 32, warps=4, stages=4)),
        (EVERY, Tile(128, 64, 32, warps=8, stages=3)),
    ),
    "float32": ((EVERY, Tile(128, 64, 16, warps=8, stages=2)),),
}
"""Each row: up to how many scores, and the tile."""

LARGE_FROM_10: dict[Operands, Tile] = {"half": Tile(128, 64, 64, warps=8, stages=4)}
"""The last row from compute capability 10 on, where 128 x 128 spills 32 bytes of the gradients."""

SCATTERED: dict[Operands, Tile] = {
    "half": Tile(64, 64, 64, warps=8, stages=3),
    "tf32": Tile(64, 32, 16, warps=4, stages=3),
    "float32": Tile(64, 32, 16, warps=4, stages=2),
}
"""Where rows are not aligned or not whole steps wide. Each element is then read by itself and takes
registers for its place."""

PROGRAMS = 1024
"""Programs of a score kernel that are aimed at: four waves and more on any GPU of today."""


@dataclass(frozen=True)
class Merge:
    """Places of one program, and partial results that it takes at a time."""

    places: int
    parts: int
    warps: int


MERGES = ((1024, Merge(1024, 16, warps=8)), (EVERY, Merge(128, 32, warps=4)))
"""Each row: up to how many places. Up to 1024 one program has the whole loss."""


@dataclass(frozen=True)
class Rows:
    """Rows of one program, and how many of their elements it takes at a time."""

    rows: int
    step: int
    warps: int


ROWS = Rows(4, 512, warps=4)
GROUP = 8
"""Blocks of rows between which programs that run together are spread."""
SLOTS = 1024
"""Sums of the scale's gradient that are added up at a time."""


def tile_of(operands: Operands, *, scores: int, width: int, beside: bool, capability: int) -> Tile:
    """The tile for this many scores of rows of this width, aligned and `beside` or scattered."""
    limit, tile = next(row for row in TILES[operands] if scores <= row[0])
    if capability >= 10 and limit == EVERY:
        tile = LARGE_FROM_10.get(operands, tile)
    return tile if beside and width % tile.step == 0 else SCATTERED[operands]


def merge_of(places: int) -> Merge:
    """How partial results of this many places are merged."""
    return next(merge for limit, merge in MERGES if places <= limit)
