"""Losses that a configuration names from outside of the package."""

import torch
from torch import Tensor, nn

CONSTANT = 3.0


def distance(first: Tensor, second: Tensor, *, power: float = 2.0) -> Tensor:
    return (first - second).abs().pow(power).mean()


def rows(first: Tensor) -> Tensor:
    return first.sum(1)


class Margin(nn.Module):
    """A loss with something to learn."""

    def __init__(self, start: float = 0.5) -> None:
        super().__init__()
        if start < 0:
            raise ValueError(f"start: expected at least 0, came {start}")
        self.margin = nn.Parameter(torch.tensor(start))

    def forward(self, first: Tensor, *, mask: Tensor | None = None) -> Tensor:
        beyond = (first - self.margin).square()
        return beyond.mean() if mask is None else (beyond * mask).mean()


class Mute:
    """Nothing that can be called."""
