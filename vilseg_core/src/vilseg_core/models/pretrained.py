"""Weights of an image encoder from a local file.

Understood layouts: this package's own image encoder, a timm vision transformer, and CLIP's visual
tower as OpenAI and open_clip name it. Files: safetensors, or a state dict saved by torch.save.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from vilseg_core.models.image import ImageEncoder

_PREFIXES = ("module.", "model.", "image_encoder.")
_CLIP_NAMES = (
    ("visual.conv1.", "backbone.patch_embed.proj."),
    ("visual.class_embedding", "backbone.cls_token"),
    ("visual.positional_embedding", "backbone.pos_embed"),
    ("visual.ln_pre.", "backbone.norm_pre."),
    ("visual.ln_post.", "backbone.norm."),
    ("visual.transformer.resblocks.", "backbone.blocks."),
    ("visual.proj", "projection.weight"),
)
_CLIP_PARTS = (
    (".attn.in_proj_", ".attn.qkv."),
    (".attn.out_proj.", ".attn.proj."),
    (".ln_1.", ".norm1."),
    (".ln_2.", ".norm2."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
)


def load_image_weights(encoder: "ImageEncoder", path: Path) -> None:
    """Copy the weights in the file at `path` into `encoder`.

    Position embeddings of another grid are resampled. A file without a projection of the right
    width (timm's, or a CLIP of another embedding width) leaves the encoder's own; every other
    weight of the encoder must be in the file, in its shape.

    Raises:
        ValueError: the file cannot be read, or does not hold the weights of this encoder.
    """
    state = _canonical(read_weights(path))
    own = encoder.state_dict()
    optional = {name for name in own if not name.startswith("backbone.")}
    state = {
        name: value
        for name, value in state.items()
        if name in own and not (name in optional and value.shape != own[name].shape)
    }
    if "backbone.pos_embed" in state:
        state["backbone.pos_embed"] = _fit_positions(state["backbone.pos_embed"], encoder)
    missing = sorted(own.keys() - state.keys() - optional)
    if missing:
        raise ValueError(
            f"checkpoint: {path} lacks {len(missing)} of the encoder's weights, the first "
            f"{missing[0]!r}; expected a state dict of timm, CLIP or open_clip for "
            f"{encoder.config.name!r}: check image.name, image.options and image.stem."
        )
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise ValueError(
                f"checkpoint: {path} holds {name!r} of shape {tuple(value.shape)}, expected "
                f"{tuple(own[name].shape)}; check image.name and image.options."
            )
    encoder.load_state_dict(state, strict=False)


def read_weights(path: Path, *, key: str = "image.checkpoint") -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a state dict, weights only; ValueError otherwise."""
    if not path.is_file():
        raise ValueError(f"checkpoint: there is no file {path}; check {key}.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"checkpoint: {path} cannot be read as weights ({type(error).__name__}); expected "
            "safetensors or a plain state dict (save a TorchScript model's .state_dict() first)."
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise ValueError(
            f"checkpoint: {path} holds a {type(state).__name__}, expected a state dict; "
            "save model.state_dict()."
        )
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def strip_prefixes(state: dict[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    """What is under each of `prefixes` that any name begins with, without it, one after another."""
    for prefix in prefixes:
        if any(name.startswith(prefix) for name in state):
            state = {
                name[len(prefix) :]: value
                for name, value in state.items()
                if name.startswith(prefix)
            }
    return state


def _canonical(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under this package's names."""
    state = strip_prefixes(state, _PREFIXES)
    if any(name.startswith("visual.") for name in state):
        return dict(_from_clip(name, value) for name, value in state.items())
    if any(name.startswith("backbone.") for name in state):
        return state
    return {f"backbone.{name}": value for name, value in state.items()}


def _from_clip(name: str, value: Tensor) -> tuple[str, Tensor]:
    if name == "visual.proj":
        value = value.T
    elif name == "visual.class_embedding":
        value = value.reshape(1, 1, -1)
    elif name == "visual.positional_embedding":
        value = value.unsqueeze(0)
    for old, new in _CLIP_NAMES:
        if name.startswith(old):
            name = new + name[len(old) :]
    for old, new in _CLIP_PARTS:
        name = name.replace(old, new)
    return name, value


def _fit_positions(positions: Tensor, encoder: "ImageEncoder") -> Tensor:
    from timm.layers.pos_embed import resample_abs_pos_embed

    backbone = encoder.backbone
    prefix = 0 if backbone.no_embed_class else backbone.num_prefix_tokens
    grid = list(backbone.patch_embed.grid_size)
    try:
        resampled: Tensor = resample_abs_pos_embed(
            positions, new_size=grid, num_prefix_tokens=prefix
        )
    except (IndexError, RuntimeError) as error:
        raise ValueError(
            f"checkpoint: position embeddings of shape {tuple(positions.shape)} cannot be "
            f"resampled to a grid of {grid[0]}x{grid[1]} and {prefix} other tokens: {error}; check "
            "image.name and options.class_token."
        ) from error
    return resampled
