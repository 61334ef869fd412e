"""Sizes of the kernels, by what they compute on. Fixed numbers: nothing is tuned while running.

Every row is compiled for compute capability 8.0, 9.0 and 10.0 in the tests and must not spill.
"""

from dataclasses import dataclass
from typing import Literal

Width = Literal["half", "single"]
"""Bytes of a logit: 2 (float16, bfloat16) or 4 (float32)."""

STREAMING_MULTIPROCESSORS = 132
"""Of an H200. Grids are multiples of it whatever the device: they depend on shapes alone."""


@dataclass(frozen=True)
class Launch:
    """Pixels of a tile, warps, pipeline stages of the loads, programs."""

    block: int
    warps: int
    stages: int
    programs: int = STREAMING_MULTIPROCESSORS


@dataclass(frozen=True)
class InformationConfig:
    """Launches of the kernels, for tiles of so many clusters."""

    channels: int
    joint: Launch
    backward: Launch
    values: Launch | None = None
    """Of the pass that tiled joints need before the backward kernel."""


MUTUAL_INFORMATION: dict[tuple[int, Width], InformationConfig] = {
    (16, "half"): InformationConfig(16, Launch(64, 4, 3, 528), Launch(64, 4, 3, 528)),
    (16, "single"): InformationConfig(16, Launch(64, 8, 2, 264), Launch(64, 4, 2, 528)),
    (32, "half"): InformationConfig(32, Launch(32, 4, 3, 528), Launch(64, 8, 3, 264)),
    (32, "single"): InformationConfig(32, Launch(64, 8, 2, 264), Launch(64, 8, 2, 264)),
    (64, "half"): InformationConfig(64, Launch(32, 8, 3, 264), Launch(32, 4, 3, 264)),
    (64, "single"): InformationConfig(64, Launch(32, 8, 2, 264), Launch(32, 8, 2, 264)),
    (128, "half"): InformationConfig(128, Launch(32, 8, 3, 132), Launch(32, 8, 3, 132)),
    (128, "single"): InformationConfig(128, Launch(32, 8, 2, 132), Launch(32, 8, 1, 132)),
    (512, "half"): InformationConfig(
        128, Launch(32, 8, 3, 264), Launch(128, 8, 2), Launch(64, 8, 3)
    ),
    (512, "single"): InformationConfig(
        128, Launch(32, 8, 2, 264), Launch(64, 8, 2), Launch(64, 8, 2)
    ),
}
"""By the clusters that a row serves at most; the last row serves all beyond, in tiles of 128."""

MATRIX_SCALE = 16384.0
"""What the largest entry of a matrix is scaled to, to fill float16 with room for rounding."""

NEGLIGIBLE = 1e-28
"""A matrix whose entries are all below this counts as 0; its inverse times the scale is finite."""

DEPTH = 32
"""Clusters that one step of a product takes where the joint is tiled."""


def information_config(clusters: int, *, bytes_each: int) -> InformationConfig:
    """The row for so many clusters, of logits of 2 or 4 bytes."""
    width: Width = "half" if bytes_each == 2 else "single"
    bucket = next((size for size in (16, 32, 64, 128) if clusters <= size), 512)
    return MUTUAL_INFORMATION[bucket, width]
