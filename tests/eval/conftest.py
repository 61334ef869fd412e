"""A tiny model with random weights and a tokenizer of its own."""

from __future__ import annotations

import pytest
import torch

from vilseg_core.models import (
    ClusterConfig,
    ImageEncoderConfig,
    ModelConfig,
    TextEncoderConfig,
    ViLSeg,
    build_model,
)
from vilseg_data import Tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    captions = ["a photo of a dog on grass", "a person and a red car", "sheep near a potted plant"]
    return Tokenizer.train(captions * 3, vocab_size=320, context_length=40)


@pytest.fixture(scope="session")
def model(tokenizer: Tokenizer) -> ViLSeg:
    torch.manual_seed(0)
    built = build_model(
        ModelConfig(
            embed_dim=16,
            image=ImageEncoderConfig(
                image_size=32,
                options={
                    "patch_size": 8,
                    "embed_dim": 16,
                    "depth": 1,
                    "num_heads": 2,
                    "class_token": False,
                },
                pooling="mean",
            ),
            text=TextEncoderConfig(
                vocab_size=tokenizer.vocab_size,
                context_length=tokenizer.context_length,
                width=16,
                layers=1,
                heads=2,
                end_of_text=tokenizer.end_of_text,
            ),
            cluster=ClusterConfig(clusters=6, heads=1),
            prototypes=8,
        )
    )
    # Weights as initialised give every pixel nearly the same feature.
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return built.eval()
