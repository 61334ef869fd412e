"""Encoders of one's own, named "package.module:Name" in a configuration.

An image encoder is made as `Name(config, embed_dim=d)` with the `ImageEncoderConfig`, whose
`options` are its own, has a whole number `patch_size` and maps images (b, 3, H, W), floats in
[0, 1], to `ImageFeatures`. A text encoder is made as `Name(config, embed_dim=d)` with the
`TextEncoderConfig` and maps tokens (n, l) int64 to (n, d).
"""

from typing import Any

import torch
from torch import Tensor, nn

from vilseg_core.importing import import_object
from vilseg_core.models.config import ImageEncoderConfig, TextEncoderConfig


def is_own(name: str) -> bool:
    """Whether a name in a configuration is that of an encoder of one's own."""
    return ":" in name


def own_image_encoder(config: ImageEncoderConfig, *, embed_dim: int) -> nn.Module:
    """Make the encoder that `config.name` names, and try it on one black image.

    Raises:
        ValueError: it cannot be imported or made, or does not answer as above.
    """
    encoder = _make(config.name, config, embed_dim=embed_dim, key="image.name")
    patch = getattr(encoder, "patch_size", None)
    if not isinstance(patch, int) or patch < 1:
        raise ValueError(
            f"image.name: expected {config.name} to have a whole number patch_size, came {patch!r};"
            " set it to the pixels of the side of a patch"
        )
    side = config.image_size
    features = _try(encoder, torch.zeros(1, 3, side, side), key="image.name", name=config.name)
    grid = side // patch
    wanted = {"pixels": (1, embed_dim, grid, grid), "pooled": (1, embed_dim)}
    for field, shape in wanted.items():
        _check(getattr(features, field, None), shape, what=f"{field} of {config.name}", key="image")
    return encoder


def own_text_encoder(config: TextEncoderConfig, *, embed_dim: int) -> nn.Module:
    """Make the encoder that `config.name` names, and try it on one text.

    Raises:
        ValueError: it cannot be imported or made, or does not answer as above.
    """
    encoder = _make(config.name, config, embed_dim=embed_dim, key="text.name")
    tokens = torch.full((1, config.context_length), config.end_of_text)
    embedding = _try(encoder, tokens, key="text.name", name=config.name)
    _check(embedding, (1, embed_dim), what=f"answer of {config.name}", key="text")
    return encoder


def _make(name: str, config: Any, *, embed_dim: int, key: str) -> nn.Module:
    try:
        made = import_object(name)(config, embed_dim=embed_dim)
    except TypeError as error:
        raise ValueError(
            f"{key}: {name} cannot be made as {name}(config, embed_dim={embed_dim}): {error}; "
            "give it these arguments"
        ) from error
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
    if not isinstance(made, nn.Module):
        raise ValueError(
            f"{key}: expected a torch.nn.Module from {name}, came {type(made).__name__}; derive it "
            "from nn.Module"
        )
    return made


def _try(encoder: nn.Module, inputs: Tensor, *, key: str, name: str) -> Any:
    # Running statistics of a norm must not see it.
    device = next((p.device for p in encoder.parameters()), inputs.device)
    encoder.eval()
    try:
        with torch.no_grad():
            return encoder(inputs.to(device))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"{key}: {name} fails on an input of shape {tuple(inputs.shape)}: {error}; see "
            "vilseg_core.models.own for what it is given"
        ) from error
    finally:
        encoder.train()


def _check(value: Any, shape: tuple[int, ...], *, what: str, key: str) -> None:
    came = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if came != shape:
        raise ValueError(f"{key}.name: expected {what} of shape {shape}, came {came}; correct it")
