"""Losses of one's own, as a configuration names them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Spread(nn.Module):
    """Keeps the features of different images apart, with a margin that is learnt."""

    def __init__(self, *, margin: float = 0.5) -> None:
        super().__init__()
        self.margin = nn.Parameter(torch.tensor(margin))
        self.register_buffer("calls", torch.zeros(()))
        self.calls: Tensor

    def forward(self, image: Tensor) -> Tensor:
        self.calls += 1
        unit = F.normalize(image, dim=1)
        return (unit @ unit.T - self.margin).square().mean()


def agreement(first: Tensor, second: Tensor, *, mask: Tensor, power: int = 2) -> Tensor:
    """How far the clusters of an image are from those of its changed copy."""
    return ((first - second).abs() ** power * mask).mean()


def local_spread(local: Tensor) -> Tensor:
    return -local.var(1).mean()


def size_of_all(*outputs: Tensor) -> Tensor:
    return torch.stack([output.float().square().mean() for output in outputs]).sum()
