"""Bad combinations are refused when the configuration is made, with a remedy."""

from typing import Any

import pytest

pytest.importorskip("pydantic")

from pydantic import ValidationError

from vilseg_core.models import (
    ClusterConfig,
    ImageEncoderConfig,
    ModelConfig,
    TextEncoderConfig,
)


def test_defaults_are_the_papers_scale() -> None:
    config = ModelConfig()
    assert (config.embed_dim, config.prototypes, config.cluster.clusters) == (512, 2048, 25)
    assert config.image.name == "vit_base_patch16_clip_224"
    assert config.image.patch_size == 16
    assert (config.text.width, config.text.layers, config.text.context_length) == (512, 12, 77)


def test_a_configuration_survives_being_written() -> None:
    config = ModelConfig.model_validate(
        {
            "image": {
                "options": {"patch_size": 8, "mlp_ratio": 2.5, "class_token": False},
                "pooling": "lse",
                "checkpoint": "weights.safetensors",
            },
            "region_pooling": "max",
        }
    )
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config
    assert config.image.options["class_token"] is False
    assert config.image.patch_size == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"pooling": "cls", "options": {"class_token": False}},
            r"pooling: 'cls' reads the class token, .*; use pooling 'mean'",
        ),
        (
            {"image_size": 100},
            r"image_size: 100 is not divisible .*; set image_size to 96 or 112",
        ),
        ({"image_size": 8}, r"image_size: 8 is not divisible .*; set image_size to 16 or 32"),
        (
            {"image_size": 64, "options": {"patch_size": 12}},
            r"image_size: 64 is not divisible by the patch size 12",
        ),
        (
            {"options": {"embed_dim": 64, "num_heads": 5}},
            r"num_heads=5 does not divide embed_dim=64; choose",
        ),
        (
            {"options": {"embed_dim": 64, "num_heads": 0}},
            r"num_heads must be a whole number of at least 1, came 0; leave it out",
        ),
        ({"options": {"embed_dim": "wide"}}, r"embed_dim must be a whole number .* came 'wide'"),
        ({"options": {"img_size": 64}}, r"'img_size' cannot be set here; use image.image_size"),
        ({"options": {"num_classes": 5}}, r"'num_classes' cannot be set here; the model sets it"),
        ({"options": {"patch_size": 8.5}}, r"patch_size must be a whole number, came 8.5"),
        ({"options": {"patch_size": 0}}, r"patch_size must be at least 1, came 0"),
        (
            {"name": "vit_tiny_patch14_224", "stem": "conv"},
            r"stem: 'conv' .* power of two, came 14; use 8 or 16, or stem='patch'",
        ),
        ({"pretrained": True, "checkpoint": "x.pt"}, r"checkpoint: .* set one of the two"),
        ({"pretrained": True, "stem": "conv"}, r"pretrained: .* set stem='patch'"),
        ({"sharpness": 0.0}, r"sharpness"),
        ({"std": (0.0, 1.0, 1.0)}, r"std"),
        ({"size": 3}, r"Extra inputs are not permitted"),
    ],
)
def test_refused_image_encoders(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ImageEncoderConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, r"pooling: 'end_of_text' without layers .* use pooling='mean'"),
        ({"width": 100}, r"heads: 8 does not divide width=100; choose"),
        ({"vocab_size": 256}, r"end_of_text: .* vocab_size - 1 = 255 .* came 49407; take it from"),
        ({"end_of_text": 0}, r"end_of_text: .* \(0 is padding\), came 0"),
        ({"dropout": 1.0}, r"dropout"),
    ],
)
def test_refused_text_encoders(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TextEncoderConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 1}, r"clusters"),
        ({"hidden_dim": 64}, r"hidden_dim: one layer has no hidden channels; .* set layers to 2"),
        ({"normalize": "layer"}, r"normalize"),
    ],
)
def test_refused_clustering_heads(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ClusterConfig(**options)


def test_region_attention_needs_a_query_that_is_learnt() -> None:
    with pytest.raises(ValidationError, match=r"region_pooling: 'attention' .* is 'cls'; set"):
        ModelConfig(region_pooling="attention")
    ModelConfig(region_pooling="attention", image=ImageEncoderConfig(pooling="attention"))


def test_a_bag_of_words_has_no_heads_to_divide() -> None:
    TextEncoderConfig(vocab_size=50, width=10, layers=0, pooling="mean", end_of_text=2)
