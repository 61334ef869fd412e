"""The sizes that the losses are measured on, and the least work each size asks for.

n = pixels or pairs, c = clusters, d = embedding dimension, s = bytes of an element.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.limits import dtype_name
from benchmarks.schema import Device, Work

SCALE = 1 / 0.07


@dataclass(frozen=True)
class MutualInformation:
    """Logits of two views of `images` grids of side x side pixels, channels first."""

    images: int
    clusters: int
    dtype: torch.dtype
    side: int = 14
    loss: str = "mutual_information"

    @property
    def pixels(self) -> int:
        return self.images * self.side**2

    @property
    def sizes(self) -> dict[str, int]:
        return {"n": self.pixels, "c": self.clusters}

    def inputs(self, device: Device, *, seed: int) -> tuple[Tensor, ...]:
        shape = (self.images, self.clusters, self.side, self.side)
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
    """Each axis of a loss is swept with the other one at its base."""

    images: tuple[int, ...]
    clusters: tuple[int, ...]
    pairs: tuple[int, ...]
    dims: tuple[int, ...]
    base_images: int
    base_clusters: int
    base_pairs: int
    base_dim: int
    side: int = 14

    def problems(
        self, *, losses: Sequence[str], dtypes: Sequence[torch.dtype]
    ) -> Iterator[Problem]:
        for dtype in dtypes:
            if "mutual_information" in losses:
                sizes = _cross(self.images, self.clusters, self.base_images, self.base_clusters)
                for images, clusters in sizes:
                    yield MutualInformation(images, clusters, dtype, side=self.side)
            if "info_nce" in losses:
                for pairs, dim in _cross(self.pairs, self.dims, self.base_pairs, self.base_dim):
                    yield InfoNCE(pairs, dim, dtype)


LOSSES = ("mutual_information", "info_nce")
QUICK = Sweep((1, 2), (3, 5), (8, 24), (4, 16), 2, 5, 24, 16, side=4)
# 768 images of 14 x 14 pixels are 150,528 pixels: the batch of one process at paper scale.
SWEEPS: dict[Device, Sweep] = {
    "cpu": Sweep(
        (16, 128, 768), (8, 25, 64, 128, 512), (256, 1024, 4096, 8192), (128, 512, 1024),
        base_images=128, base_clusters=25, base_pairs=1024, base_dim=512,
    ),
    "cuda": Sweep(
        (16, 64, 256, 768), (8, 25, 64, 128, 256, 512), (768, 2048, 8192, 32768, 65536),
        (128, 512, 1024), base_images=768, base_clusters=25, base_pairs=8192, base_dim=512,
    ),
}  # fmt: skip


def describe(problem: Problem) -> str:
    sizes = " ".join(f"{name}={size}" for name, size in problem.sizes.items())
    return f"{problem.loss} {sizes} {dtype_name(problem.dtype)}"


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
