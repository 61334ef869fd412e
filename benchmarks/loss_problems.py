"""The sizes that the losses are measured on, and the least work each size asks for.

n = pixels or pairs, c = clusters, d = embedding dimension, s = bytes of an element.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.limits import dtype_name
from benchmarks.schema import Device, Layout, Work

SCALE = 1 / 0.07


@dataclass(frozen=True)
class MutualInformation:
    """Logits of two views: grids of side x side pixels, channels first, or one row a pixel."""

    pixels: int
    clusters: int
    dtype: torch.dtype
    layout: Layout = "channel_first"
    side: int = 14
    loss: str = "mutual_information"

    def __post_init__(self) -> None:
        if self.layout == "channel_first" and self.pixels % self.side**2:
            raise ValueError(
                f"n: expected whole grids of {self.side} x {self.side} pixels, came {self.pixels}; "
                f"take a multiple of {self.side**2} or layout=rows"
            )

    @property
    def sizes(self) -> dict[str, int]:
        return {"n": self.pixels, "c": self.clusters}

    def inputs(self, device: Device, *, seed: int) -> tuple[Tensor, ...]:
        shape: tuple[int, ...] = (self.pixels, self.clusters)
        if self.layout == "channel_first":
            shape = (self.pixels // self.side**2, self.clusters, self.side, self.side)
        return _leaves([shape, shape], dtype=self.dtype, device=device, seed=seed)

    def least_bytes(self, work: Work) -> int:
        """Forward reads both logits; backward reads them again and writes two gradients."""
        element = self.pixels * self.clusters * self.dtype.itemsize
        return (6 if work == "forward_backward" else 2) * element

    def least_flop(self, work: Work) -> int:
        """One product of (c, n) and (n, c); two more in the backward pass."""
        return (6 if work == "forward_backward" else 2) * self.pixels * self.clusters**2


@dataclass(frozen=True)
class InfoNCE:
    """`pairs` image and text features, and the scale as a tensor that asks for its gradient."""

    pairs: int
    dim: int
    dtype: torch.dtype
    layout: Layout = "rows"
    loss: str = "info_nce"

    @property
    def sizes(self) -> dict[str, int]:
        return {"n": self.pairs, "d": self.dim}

    def inputs(self, device: Device, *, seed: int) -> tuple[Tensor, ...]:
        shape = (self.pairs, self.dim)
        features = _leaves([shape, shape], dtype=self.dtype, device=device, seed=seed)
        return (*features, torch.tensor(SCALE, device=device, requires_grad=True))

    def least_bytes(self, work: Work) -> int:
        element = self.pairs * self.dim * self.dtype.itemsize
        return (6 if work == "forward_backward" else 2) * element

    def least_flop(self, work: Work) -> int:
        """One product for the scores, two for the gradients; recomputing the scores adds 2 n^2 d.

        One matrix of scores serves both directions, so this is the least for the two together.
        """
        return (6 if work == "forward_backward" else 2) * self.pairs**2 * self.dim


Problem = MutualInformation | InfoNCE


@dataclass(frozen=True)
class Sweep:
    """Each axis of a loss is swept with the other one at its base.

    `rows` are the numbers of clusters that are measured on logits (n, c), too, at the base.
    """

    pixels: tuple[int, ...]
    clusters: tuple[int, ...]
    rows: tuple[int, ...]
    pairs: tuple[int, ...]
    dims: tuple[int, ...]
    base_pixels: int
    base_clusters: int
    base_pairs: int
    base_dim: int
    side: int = 14

    def problems(self, dtype: torch.dtype) -> Iterator[Problem]:
        for n, c in _cross(self.pixels, self.clusters, self.base_pixels, self.base_clusters):
            yield MutualInformation(n, c, dtype, side=self.side)
        for c in self.rows:
            yield MutualInformation(self.base_pixels, c, dtype, layout="rows")
        for n, d in _cross(self.pairs, self.dims, self.base_pairs, self.base_dim):
            yield InfoNCE(n, d, dtype)


LOSSES = ("mutual_information", "info_nce")
QUICK = Sweep((16, 32), (3, 5), (5,), (8, 24), (4, 16), 32, 5, 24, 16, side=4)
# 150,528 pixels are 768 images of 14 x 14: the batch of one process at paper scale.
_CUDA = Sweep(
    (3136, 12544, 50176, 150528), (8, 25, 64, 128, 256, 512), (25, 128),
    (768, 2048, 8192, 32768, 65536), (128, 512, 1024),
    base_pixels=150528, base_clusters=25, base_pairs=8192, base_dim=512,
)  # fmt: skip
_CPU = Sweep(
    (3136, 25088, 150528), (8, 25, 64, 128, 512), (25, 128),
    (256, 1024, 4096, 8192), (128, 512, 1024),
    base_pixels=150528, base_clusters=25, base_pairs=1024, base_dim=512,
)  # fmt: skip
# Half precision on a CPU is a curiosity: a few points, for a run of bearable length.
_CPU_HALF = Sweep(
    (25088, 150528), (25, 128), (25,), (1024, 4096), (512,),
    base_pixels=150528, base_clusters=25, base_pairs=1024, base_dim=512,
)  # fmt: skip


def sweep(device: Device, dtype: torch.dtype) -> Sweep:
    """The sizes of an ordinary run."""
    if device == "cuda":
        return _CUDA
    return _CPU if dtype == torch.float32 else _CPU_HALF


def parse_point(text: str) -> Problem:
    """`n=150528,c=25`, `n=150528,c=25,layout=rows` or `n=8192,d=512` as a problem in float32.

    Raises:
        ValueError: it is none of these.
    """
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    layout = fields.pop("layout", None)
    try:
        sizes = {name: int(size) for name, size in fields.items()}
    except ValueError:
        sizes = {}
    if all(size > 0 for size in sizes.values()):
        if sizes.keys() == {"n", "c"} and layout in (None, "channel_first"):
            return MutualInformation(sizes["n"], sizes["c"], torch.float32)
        if sizes.keys() == {"n", "c"} and layout == "rows":
            return MutualInformation(sizes["n"], sizes["c"], torch.float32, layout="rows")
        if sizes.keys() == {"n", "d"} and layout in (None, "rows"):
            return InfoNCE(sizes["n"], sizes["d"], torch.float32)
    raise ValueError(
        "point: expected n=150528,c=25 for mutual information (and layout=rows for logits (n, c)) "
        f"or n=8192,d=512 for InfoNCE, came {text!r}; write it without spaces"
    )


def describe(problem: Problem) -> str:
    sizes = [f"{name}={size}" for name, size in problem.sizes.items()]
    unusual = [] if problem.layout == type(problem).layout else [problem.layout]
    return " ".join([problem.loss, *sizes, *unusual, dtype_name(problem.dtype)])


def _cross(
    first: tuple[int, ...], second: tuple[int, ...], base_first: int, base_second: int
) -> list[tuple[int, int]]:
    along = [(size, base_second) for size in first] + [(base_first, size) for size in second]
    return list(dict.fromkeys(along))


def _leaves(
    shapes: Sequence[tuple[int, ...]], *, dtype: torch.dtype, device: Device, seed: int
) -> tuple[Tensor, ...]:
    """Standard normal leaves, drawn on the CPU so that every device gets the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randn(shape, generator=generator) for shape in shapes)
    return tuple(leaf.to(device, dtype).requires_grad_() for leaf in drawn)
