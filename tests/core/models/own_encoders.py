"""Encoders of one's own, sound ones and others, named by the tests."""

from typing import Any

import torch
from torch import Tensor, nn

from vilseg_core.models import ImageEncoderConfig, ImageFeatures, TextEncoderConfig


class Patches(nn.Module):
    """A linear map of each patch, and their mean."""

    def __init__(self, config: ImageEncoderConfig, *, embed_dim: int) -> None:
        super().__init__()
        self.patch_size = int(config.options["side"])
        self.embed = nn.Conv2d(3, embed_dim, self.patch_size, stride=self.patch_size)
        self.norm = nn.BatchNorm2d(embed_dim)

    def forward(self, images: Tensor) -> ImageFeatures:
        pixels = self.norm(self.embed(images))
        return ImageFeatures(pixels, pixels.mean((2, 3)))


class Letters(nn.Module):
    """The sum of one vector a token."""

    def __init__(self, config: TextEncoderConfig, *, embed_dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(config.vocab_size, embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.as_tensor(self.table(tokens).sum(1))


class NoPatchSize(Patches):
    def __init__(self, config: ImageEncoderConfig, *, embed_dim: int) -> None:
        super().__init__(config, embed_dim=embed_dim)
        del self.patch_size


class OneFeature(Patches):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images).pooled


class TooNarrow(Letters):
    def __init__(self, config: TextEncoderConfig, *, embed_dim: int) -> None:
        super().__init__(config, embed_dim=embed_dim - 1)


class Failing(Letters):
    def forward(self, tokens: Tensor) -> Tensor:
        raise RuntimeError(f"on purpose, {len(tokens)} texts")


def no_module(config: Any, *, embed_dim: int) -> str:
    return f"{config.name} {embed_dim}"


def other_arguments(width: int) -> nn.Module:
    return nn.Linear(width, width)
