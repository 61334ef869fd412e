"""Models with random weights for benchmarks.evaluation: their speed is that of trained ones."""

from dataclasses import dataclass
from functools import cache

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

CLUSTERS = 25
"""Of the paper's section 4.1."""


@dataclass(frozen=True)
class Size:
    """A model by name: timm's vision transformer, or a small one by its options."""

    name: str
    timm: str
    image_size: int
    embed_dim: int
    text_width: int
    text_layers: int
    options: tuple[tuple[str, int], ...] = ()


BASE = Size("ViT-B/16", "vit_base_patch16_clip_224", 224, 512, 512, 12)
SMALL = Size("ViT-S/16", "vit_small_patch16_224", 224, 256, 256, 12)
SIZES = {size.name: size for size in (BASE, SMALL)}
TINY = Size(
    "tiny", "vit_tiny_patch16_224", 32, 16, 16, 1,
    (("patch_size", 8), ("embed_dim", 16), ("depth", 1), ("num_heads", 2)),
)  # fmt: skip


@cache
def tokenizer() -> Tokenizer:
    """Of the few words that are asked for; how many there are decides nothing here."""
    return Tokenizer.train(words(1000), vocab_size=1024, context_length=32)


def words(count: int) -> list[str]:
    """`count` different words."""
    return [f"thing number {i}" for i in range(count)]


@cache
def model(size: Size, *, seed: int, device: str) -> ViLSeg:
    """The model of that size, with random weights of `seed`, on `device`."""
    known = tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = build_model(
            ModelConfig(
                embed_dim=size.embed_dim,
                image=ImageEncoderConfig(
                    name=size.timm, image_size=size.image_size, options=dict(size.options)
                ),
                text=TextEncoderConfig(
                    vocab_size=known.vocab_size,
                    context_length=known.context_length,
                    width=size.text_width,
                    layers=size.text_layers,
                    heads=8 if size.text_width >= 64 else 2,
                    end_of_text=known.end_of_text,
                ),
                cluster=ClusterConfig(clusters=CLUSTERS),
                prototypes=8,
            )
        )
    return built.to(device).eval()
