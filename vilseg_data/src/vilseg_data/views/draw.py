"""The only place where views meet randomness."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor


class Rows(NamedTuple):
    """Which images of a larger batch of `total` these are: those from `first` on."""

    first: int
    total: int

    def check(self, n: int) -> None:
        """Refuse rows that are not n of the batch."""
        if not 0 <= self.first <= self.first + n <= self.total:
            raise ValueError(
                f"rows: expected {n} images within a batch of {self.total}, came them from number "
                f"{self.first} on; pass (first, total) of the whole batch"
            )


def uniform(*shape: int, generator: Generator | None) -> Tensor:
    """Uniform numbers in [0, 1), float64, on the generator's device (the CPU without one).

    Drawn in one dtype and on one device whatever the images are, so that the same generator
    state gives the same views everywhere. `None` draws from torch's global generator.
    """
    device = torch.device("cpu") if generator is None else generator.device
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=device)


def spread(draws: Tensor, low: float, high: float) -> Tensor:
    """Move uniform numbers of [0, 1) to [low, high)."""
    return low + (high - low) * draws
