"""Weights from a file: every layout that is understood, and clear words about the rest."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("timm")
pytest.importorskip("pydantic")

from tests.core.models.small import TINY, config_of, model_of, photos

from vilseg_core.models.image import ImageEncoder

CLIP_VIT: dict[str, Any] = {"name": "vit_base_patch16_clip_224"}


def encoder_of(checkpoint: Path | None = None, **image: Any) -> ImageEncoder:
    config = config_of(TINY, **(CLIP_VIT | {"checkpoint": checkpoint} | image))
    return ImageEncoder(config.image, embed_dim=12).eval()


def to_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names that CLIP and open_clip give the same weights, written out one by one."""
    named = {
        "visual.class_embedding": state["backbone.cls_token"].flatten(),
        "visual.positional_embedding": state["backbone.pos_embed"][0],
        "visual.conv1.weight": state["backbone.patch_embed.proj.weight"],
        "visual.ln_pre.weight": state["backbone.norm_pre.weight"],
        "visual.ln_pre.bias": state["backbone.norm_pre.bias"],
        "visual.ln_post.weight": state["backbone.norm.weight"],
        "visual.ln_post.bias": state["backbone.norm.bias"],
        "visual.proj": state["projection.weight"].T.contiguous(),
        "token_embedding.weight": torch.zeros(3, 4),
        "logit_scale": torch.tensor(4.6),
    }
    for block in range(2):
        ours, theirs = f"backbone.blocks.{block}.", f"visual.transformer.resblocks.{block}."
        for kind in ("weight", "bias"):
            named[f"{theirs}attn.in_proj_{kind}"] = state[f"{ours}attn.qkv.{kind}"]
            named[f"{theirs}attn.out_proj.{kind}"] = state[f"{ours}attn.proj.{kind}"]
            named[f"{theirs}ln_1.{kind}"] = state[f"{ours}norm1.{kind}"]
            named[f"{theirs}ln_2.{kind}"] = state[f"{ours}norm2.{kind}"]
            named[f"{theirs}mlp.c_fc.{kind}"] = state[f"{ours}mlp.fc1.{kind}"]
            named[f"{theirs}mlp.c_proj.{kind}"] = state[f"{ours}mlp.fc2.{kind}"]
    return named


def layouts(encoder: ImageEncoder) -> dict[str, Any]:
    own = encoder.state_dict()
    return {
        "own": own,
        "whole model": {f"image_encoder.{name}": value for name, value in own.items()},
        "clip": to_clip(own),
        "open_clip in training": {
            "epoch": 3,
            "state_dict": {f"module.{name}": value for name, value in to_clip(own).items()},
        },
    }


@pytest.mark.parametrize("layout", ["own", "whole model", "clip", "open_clip in training"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_every_layout_gives_the_same_encoder(tmp_path: Path, layout: str, suffix: str) -> None:
    torch.manual_seed(1)
    source = encoder_of()
    state = layouts(source)[layout]
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save = pytest.importorskip("safetensors.torch").save_file
        save(state.get("state_dict", state), path)
    else:
        torch.save(state, path)
    torch.manual_seed(2)
    loaded = encoder_of(path)
    images = photos()
    torch.testing.assert_close(loaded(images).pixels, source(images).pixels)
    torch.testing.assert_close(loaded(images).pooled, source(images).pooled)


def test_timm_weights_leave_the_projection_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = encoder_of()
    torch.save(source.backbone.state_dict(), tmp_path / "timm.pt")
    torch.manual_seed(2)
    fresh = encoder_of()
    torch.manual_seed(2)
    loaded = encoder_of(tmp_path / "timm.pt")
    assert torch.equal(loaded.projection.weight, fresh.projection.weight)
    images = photos()
    found = loaded.backbone.forward_features(images)
    torch.testing.assert_close(found, source.backbone.forward_features(images))


def test_positions_of_another_grid_are_resampled(tmp_path: Path) -> None:
    source = encoder_of()
    columns = torch.arange(4.0).reshape(1, 4, 1).expand(4, 4, 16)
    with torch.no_grad():
        source.backbone.pos_embed[0, 0] = 7.0
        source.backbone.pos_embed[0, 1:] = columns.reshape(16, 16)
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    larger = encoder_of(tmp_path / "weights.pt", image_size=64)
    positions = larger.backbone.pos_embed.detach()
    assert positions.shape == (1, 65, 16)
    assert torch.equal(positions[0, 0], torch.full((16,), 7.0))
    grid = positions[0, 1:].reshape(8, 8, 16)
    # Pixel centres: the eight columns lie a quarter before and after each of the four.
    expected = torch.tensor([0.75, 1.25, 1.75, 2.25]).reshape(4, 1).expand(8, 4, 16)
    torch.testing.assert_close(grid[:, 2:6], expected, atol=0.05, rtol=0)
    torch.testing.assert_close(grid, grid[:1].expand(8, 8, 16))


def test_the_whole_model_takes_the_checkpoint(tmp_path: Path) -> None:
    source = encoder_of()
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    model = model_of(TINY, checkpoint=tmp_path / "weights.pt", **CLIP_VIT)
    loaded = model.image_encoder.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in source.state_dict().items())


def damaged(path: Path, kind: str) -> Path:
    state = encoder_of().state_dict()
    if kind == "truncated":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:1000])
    elif kind == "a pickle of code":
        torch.save({"loss": torch.nn.Linear(2, 2)}, path)
    elif kind == "a list":
        torch.save([torch.zeros(2)], path)
    elif kind == "another model":
        torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    elif kind == "a weight short":
        del state["backbone.blocks.1.attn.qkv.weight"]
        torch.save(state, path)
    elif kind == "no class token":
        state["backbone.pos_embed"] = state["backbone.pos_embed"][:, 1:]
        torch.save(state, path)
    elif kind == "another width":
        state["backbone.blocks.1.attn.qkv.weight"] = torch.zeros(96, 32)
        torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("absent", r"checkpoint: there is no file .*; check image.checkpoint"),
        ("truncated", r"checkpoint: .* cannot be read as weights .*; expected safetensors"),
        ("a pickle of code", r"checkpoint: .* cannot be read as weights"),
        ("a list", r"checkpoint: .* holds a list, expected a state dict"),
        (
            "another model",
            r"checkpoint: .* lacks \d+ of the encoder's weights, the first 'back",
        ),
        ("a weight short", r"checkpoint: .* lacks 1 .* 'backbone.blocks.1.attn.qkv.weight'"),
        (
            "no class token",
            r"checkpoint: .* \(1, 16, 16\) cannot be resampled to a grid of 4x4 and 1 other",
        ),
        ("another width", r"checkpoint: .* of shape \(96, 32\), expected \(48, 16\)"),
    ],
)
def test_refused_files(tmp_path: Path, kind: str, message: str) -> None:
    path = damaged(tmp_path / "weights.pt", kind)
    with pytest.raises(ValueError, match=message):
        encoder_of(path)
