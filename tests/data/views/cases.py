"""What the tests of the views share: seeded images, images whose values are known everywhere."""

import math

import torch
from hypothesis import strategies as st
from torch import Tensor

seeds = st.integers(0, 2**31 - 1)
sides = st.integers(1, 17)
dtypes = st.sampled_from([torch.float32, torch.float64, torch.bfloat16])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Elsewhere(torch.Generator):
    """A generator that says it is on a device this machine may not have."""

    device = torch.device("cuda", 1)


def noise(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, generator=generator(seed), dtype=torch.float64).to(dtype)


def coordinates(n: int, *, size: tuple[int, int]) -> Tensor:
    """Images (n, 3, h, w) whose pixels hold their own place: x, y in pixels, and 1; float64."""
    h, w = size
    x = (torch.arange(w, dtype=torch.float64) + 0.5).expand(h, w)
    y = (torch.arange(h, dtype=torch.float64) + 0.5)[:, None].expand(h, w)
    return torch.stack([x, y, torch.ones(h, w, dtype=torch.float64)]).expand(n, 3, h, w)


class Wave:
    """0.5 + 0.5 sin(k . p + phase), p in pixels of a (h, w) grid: curvature is known everywhere."""

    def __init__(self, seed: int, *, size: tuple[int, int], steepness: float) -> None:
        angle, phase = (noise(2, seed=seed, dtype=torch.float64) * 2 * math.pi).tolist()
        self.k = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64) * steepness
        self.phase = phase
        self.size = size
        self.extent = torch.tensor([size[1], size[0]], dtype=torch.float64)

    def at(self, points: Tensor) -> Tensor:
        """Values at normalised positions (..., 2)."""
        pixels = (points + 1) / 2 * self.extent
        return 0.5 + 0.5 * torch.sin((pixels * self.k).sum(-1) + self.phase)

    def curvature(self, seen: Tensor | None = None) -> float:
        """Largest sum of |second derivatives| along columns and rows, per pixel squared.

        `seen` is the map (1, 2, 3) the wave is seen through.
        """
        k = self.k
        if seen is not None:
            k = (seen[0, :, :2].T @ (k * self.extent)) / self.extent
        return 0.5 * float((k * k).sum())
