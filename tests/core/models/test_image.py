"""Image encoder: the paper's size, crops of any size, poolings, refusals."""

from typing import Any

import pytest
import torch

pytest.importorskip("timm")
pytest.importorskip("pydantic")

from tests.core.models.small import TINY, WORLD, model_of, photos

from vilseg_core.models import ImageEncoderConfig, ModelConfig, build_model
from vilseg_core.models.image import ImageEncoder
from vilseg_core.models.stem import ConvStem


def test_paper_scale_has_the_papers_parameters() -> None:
    with torch.device("meta"):
        model = build_model(ModelConfig())
    count = {
        name: sum(parameter.numel() for parameter in part.parameters())
        for name, part in model.named_children()
    }
    assert count["image_encoder"] == 86_192_640
    assert count["clustering_head"] == 76_950
    # CLIP ViT-B/16 has 149,620,737: both towers and its temperature.
    assert count["image_encoder"] + count["text_encoder"] + 1 == 149_620_737


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "lse", "attention"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40), (8, 8), (16, 72)])
def test_crops_of_any_size_pass(pooling: str, height: int, width: int) -> None:
    encoder = model_of(TINY, pooling=pooling).image_encoder
    features = encoder(photos(2, height, width))
    assert features.pixels.shape == (2, 12, height // 8, width // 8)
    assert features.pooled.shape == (2, 12)
    if encoder.pooling is not None:
        torch.testing.assert_close(features.pooled, encoder.pooling(features.pixels))


def test_pixels_are_the_normed_tokens_projected_in_their_places() -> None:
    encoder = model_of(TINY).image_encoder
    images = photos(2, 24, 40)
    mean = torch.tensor(encoder.config.mean).reshape(3, 1, 1)
    std = torch.tensor(encoder.config.std).reshape(3, 1, 1)
    tokens = encoder.projection(encoder.backbone.forward_features((images - mean) / std))
    features = encoder(images)
    torch.testing.assert_close(features.pooled, tokens[:, 0])
    for row in range(3):
        for column in range(5):
            token = tokens[:, 1 + 5 * row + column]
            torch.testing.assert_close(features.pixels[:, :, row, column], token)


def test_the_final_norm_is_kept() -> None:
    for pooling in ("cls", "mean"):
        encoder = model_of(TINY, pooling=pooling).image_encoder
        assert isinstance(encoder.backbone.norm, torch.nn.LayerNorm)


def test_world_scale() -> None:
    model = model_of(WORLD)
    features = model.encode_image(photos(3, 64, 64))
    assert features.pixels.shape == (3, 192, 8, 8)
    assert features.pooled.shape == (3, 192)
    assert model.encode_image(photos(3, 24, 24)).pixels.shape == (3, 192, 3, 3)
    stem = model.image_encoder.backbone.patch_embed
    assert isinstance(stem, ConvStem)
    convolutions = [part for part in stem.layers if isinstance(part, torch.nn.Conv2d)]
    assert [part.out_channels for part in convolutions] == [24, 32, 64]
    assert {part.stride for part in convolutions} == {(2, 2)}
    count = sum(parameter.numel() for parameter in model.image_encoder.parameters())
    assert 100_000 < count < 120_000


@pytest.mark.parametrize(
    ("patch_size", "channels"), [(2, [64]), (4, [32, 64]), (16, [8, 24, 32, 64])]
)
def test_stems_of_other_patches(patch_size: int, channels: list[int]) -> None:
    stem = ConvStem(64, patch_size=patch_size, grid_size=(4, 4))
    assert stem(photos(1, 64, 32)).shape == (1, 64 // patch_size, 32 // patch_size, 64)
    convolutions = [part for part in stem.layers if isinstance(part, torch.nn.Conv2d)]
    assert [part.out_channels for part in convolutions] == channels
    with pytest.raises(ValueError, match=r"patch_size: .* came 6; use 8 or 16"):
        ConvStem(64, patch_size=6, grid_size=(4, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_images_of_any_float_dtype_pass(dtype: torch.dtype) -> None:
    encoder = model_of(TINY).image_encoder
    images = photos().to(dtype)
    torch.testing.assert_close(encoder(images).pooled, encoder(images.float()).pooled)


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_every_parameter_learns(stem: str) -> None:
    encoder = model_of(TINY, stem=stem, pooling="attention").image_encoder
    features = encoder(photos())
    torch.autograd.backward(features.pooled.square().sum() + features.pixels.square().sum())
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_the_normalisation_is_not_saved() -> None:
    encoder = model_of(TINY).image_encoder
    assert not {"gain", "shift"} & set(encoder.state_dict())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
            r"images: .* torch.uint8 .* images / 255",
        ),
        (torch.zeros(2, 1, 32, 32), r"images: .* shape \(b, 3, H, W\), came .* \(2, 1, 32, 32\)"),
        (torch.zeros(3, 32, 32), r"images: .* shape \(3, 32, 32\)"),
        (torch.zeros(2, 3, 33, 32), r"images: .* patch size 8, came 33x32; .* multiples of 8"),
        (torch.zeros(2, 3, 0, 32), r"images: .* came 0x32"),
    ],
)
def test_refused_images(images: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_of(TINY).image_encoder(images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "vit_of_nowhere"}, r"timm cannot build 'vit_of_nowhere' .*check image.name"),
        ({"name": "resnet18"}, r"timm cannot build 'resnet18'"),
        ({"name": "eva02_tiny_patch14_224"}, r"timm cannot build 'eva02_.*timm.list_models"),
        ({"options": {"wings": 2}}, r"timm cannot build .*wings.* check image.name"),
        ({"options": {"embed_dim": 64}}, r"timm cannot build"),
    ],
)
def test_encoders_that_timm_cannot_build(changes: dict[str, Any], message: str) -> None:
    config = ImageEncoderConfig(**{"name": "vit_tiny_patch16_224", **changes})
    with pytest.raises(ValueError, match=message):
        ImageEncoder(config, embed_dim=8)
