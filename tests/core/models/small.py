"""Small models that the tests build."""

from typing import Any

import torch
from torch import Tensor

from vilseg_core.models import ModelConfig, ViLSeg, build_model

WORLD: dict[str, Any] = {
    "embed_dim": 192,
    "image": {
        "name": "vit_tiny_patch16_224",
        "image_size": 64,
        "options": {
            "embed_dim": 64,
            "depth": 2,
            "num_heads": 4,
            "mlp_ratio": 2,
            "patch_size": 8,
            "class_token": False,
        },
        "stem": "conv",
        "pooling": "lse",
        "sharpness": 6.0,
    },
    "text": {
        "vocab_size": 256,
        "context_length": 32,
        "width": 64,
        "layers": 0,
        "pooling": "mean",
        "end_of_text": 2,
    },
    "cluster": {"clusters": 25, "heads": 1, "normalize": "batch"},
}

TINY: dict[str, Any] = {
    "embed_dim": 12,
    "image": {
        "name": "vit_tiny_patch16_224",
        "image_size": 32,
        "options": {"embed_dim": 16, "depth": 2, "num_heads": 2, "patch_size": 8},
    },
    "text": {
        "vocab_size": 50,
        "context_length": 10,
        "width": 16,
        "layers": 2,
        "heads": 2,
        "end_of_text": 3,
    },
    "cluster": {"clusters": 5, "heads": 2},
    "prototypes": 7,
}


def config_of(base: dict[str, Any], **image: Any) -> ModelConfig:
    """`base` with some of its image settings changed."""
    return ModelConfig.model_validate({**base, "image": {**base["image"], **image}})


def model_of(base: dict[str, Any], **image: Any) -> ViLSeg:
    """The model of `config_of`, always with the same weights, in evaluation mode."""
    torch.manual_seed(0)
    return build_model(config_of(base, **image)).eval()


def photos(b: int = 2, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(b, 3, height, width, generator=torch.Generator().manual_seed(0))
