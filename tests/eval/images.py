"""Noise in the form of images."""

from __future__ import annotations

import torch
from torch import Tensor


def random_images(*sizes: tuple[int, int], seed: int = 0) -> list[Tensor]:
    """uint8 (3, h, w) for each (h, w)."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes
    ]


def blocks(rows: int, columns: int, *, side: int, seed: int = 0) -> Tensor:
    """uint8 (3, rows * side, columns * side): squares of one colour each."""
    (small,) = random_images((rows, columns), seed=seed)
    return small.repeat_interleave(side, 1).repeat_interleave(side, 2)
