"""Sizes, windows, and the encoder's pass over images of any size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.eval.images import random_images
from torch import Tensor

from vilseg_core.models import ViLSeg
from vilseg_data import Tokenizer
from vilseg_eval import InferenceConfig, PatchSegmenter, ViLSegSegmenter
from vilseg_eval.features import encode_images, inference, weights_hash
from vilseg_eval.framing import Framing

SIZES = ((32, 32), (17, 45), (1, 1), (3, 70), (64, 21), (17, 45))
SHORT = InferenceConfig(resize="short")
WINDOWS = InferenceConfig(image_size=48, window=32, stride=16)
SHORT_WINDOWS = InferenceConfig(image_size=48, resize="short", window=32)


def framing_of(config: InferenceConfig) -> Framing:
    return config.fitted(image_size=32, patch_size=8)


def encode(model: ViLSeg, images: list[Tensor], config: InferenceConfig) -> list[Tensor]:
    with inference(model):
        encoded = encode_images(
            model, images, framing=framing_of(config), batch_size=config.batch_size
        )
    return [x.pixels for x in encoded]


@pytest.mark.parametrize("config", [InferenceConfig(), SHORT, WINDOWS, SHORT_WINDOWS])
def test_images_of_any_sizes_together_are_as_one_at_a_time(
    model: ViLSeg, config: InferenceConfig
) -> None:
    images = random_images(*SIZES)
    together = encode(model, images, config.model_copy(update={"batch_size": 4}))
    for image, pixels in zip(images, together, strict=True):
        (alone,) = encode(model, [image], config.model_copy(update={"batch_size": 1}))
        torch.testing.assert_close(pixels, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("resize", ["square", "short"])
def test_a_window_as_large_as_the_image_is_the_whole_image(model: ViLSeg, resize: str) -> None:
    images = random_images(*SIZES)
    whole = InferenceConfig.model_validate({"image_size": 32, "resize": resize})
    large = whole.model_copy(update={"window": 32 * 8})
    for expected, pixels in zip(
        encode(model, images, whole), encode(model, images, large), strict=True
    ):
        assert torch.equal(pixels, expected)


def test_overlapping_windows_are_averaged_token_by_token(model: ViLSeg) -> None:
    (image,) = random_images((48, 64), seed=1)
    config = InferenceConfig(image_size=48, resize="short", window=32, stride=16)
    (pixels,) = encode(model, [image], config)
    total, count = torch.zeros(16, 6, 8), torch.zeros(6, 8)
    with inference(model):
        for top in (0, 16):
            for left in (0, 16, 32):
                part = image[None, :, top : top + 32, left : left + 32].float() / 255
                features = model.encode_image(part).pixels[0]
                for row in range(4):
                    for column in range(4):
                        y, x = top // 8 + row, left // 8 + column
                        total[:, y, x] += features[:, row, column]
                        count[y, x] += 1
    torch.testing.assert_close(pixels, total / count, atol=1e-5, rtol=1e-4)


def test_averaged_logits_are_the_mean_over_windows(model: ViLSeg) -> None:
    (image,) = random_images((32, 48), seed=2)
    config = InferenceConfig(resize="short", window=32, stride=16)
    with inference(model):
        (encoded,) = encode_images(
            model, [image], framing=framing_of(config), batch_size=8, logits=True
        )
        left, right = (
            model.cluster(model.encode_image(part[None].float() / 255).pixels)[0]
            for part in (image[:, :, :32], image[:, :, 16:])
        )
    assert encoded.logits is not None
    torch.testing.assert_close(encoded.logits[:, :, 2:4], (left[:, :, 2:] + right[:, :, :2]) / 2)
    torch.testing.assert_close(encoded.logits[:, :, :2], left[:, :, :2])


def test_what_is_averaged_changes_the_cut_and_nothing_else_does(
    model: ViLSeg, tokenizer: Tokenizer
) -> None:
    images = random_images((32, 80), (70, 40), seed=3)
    one_window = InferenceConfig(resize="short", average="logits")
    logits = ViLSegSegmenter(model, tokenizer, ["dog", "grass"], inference=one_window)
    features = ViLSegSegmenter(model, tokenizer, ["dog", "grass"], inference=SHORT)
    for first, second in zip(logits.segment(images), features.segment(images), strict=True):
        assert torch.equal(first.labels([0, 1]), second.labels([0, 1]))


@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    patches=st.integers(1, 40),
    window=st.none() | st.integers(1, 50),
)
@settings(max_examples=50)
def test_windows_cover_the_image_and_lie_on_patches(
    height: int, width: int, patches: int, window: int | None
) -> None:
    config = InferenceConfig(
        image_size=8 * patches, resize="short", window=None if window is None else 8 * window
    )
    framing = framing_of(config)
    tall, wide = framing.size(height, width)
    assert min(tall, wide) == 8 * patches
    assert tall % 8 == wide % 8 == 0
    assert max(tall, wide) <= 8 * 8 * patches
    if max(height, width) <= 8 * min(height, width):
        assert abs(tall / wide * width / height - 1) <= 0.5 / patches + 1e-9
    covered = torch.zeros(tall // 8, wide // 8)
    windows = framing.windows(tall, wide)
    assert len(set(windows)) == len(windows)
    for part in windows:
        assert part.top % 8 == part.left % 8 == part.height % 8 == part.width % 8 == 0
        assert part.top + part.height <= tall
        assert part.left + part.width <= wide
        part.cut(covered, unit=8).add_(1)
    assert (covered >= 1).all()


@given(height=st.integers(1, 90), width=st.integers(1, 90))
@settings(max_examples=20)
def test_a_flat_colour_stays_flat_and_keeps_its_range(height: int, width: int) -> None:
    flat = torch.tensor([255, 0, 128], dtype=torch.uint8).view(3, 1, 1).expand(3, height, width)
    for config in (InferenceConfig(), SHORT):
        framing = framing_of(config)
        frame = framing.frame(flat)
        assert frame.shape[1:] == framing.size(height, width)
        assert (frame == flat[:, :1, :1]).all()


def test_images_must_be_uint8_rgb(model: ViLSeg) -> None:
    for wrong in (torch.rand(3, 4, 4), torch.zeros(4, 4, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"images: expected uint8 \(3, h, w\).*position 0"):
            encode(model, [wrong], InferenceConfig())
    with pytest.raises(ValueError, match="images: expected at least one, got none"):
        encode(model, [], InferenceConfig())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"image_size": 0}, "greater than or equal to 1"),
        ({"batch_size": 0}, "greater than or equal to 1"),
        ({"stride": 8}, "stride: expected a window beside it, came stride=8 alone"),
        ({"window": 16, "stride": 24}, "stride: expected at most window=16, came 24"),
        ({"zoom": 2}, "Extra inputs are not permitted"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, int], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        InferenceConfig.model_validate(options)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (InferenceConfig(image_size=36), "image_size: .* patch size 8, came 36; set it to 32 or"),
        (InferenceConfig(window=20), "window: .* patch size 8, came 20; set it to 16 or 24"),
        (InferenceConfig(window=16, stride=4), "stride: .* came 4; set it to 8 or 16"),
    ],
)
def test_sizes_are_whole_numbers_of_patches(
    config: InferenceConfig, text: str, model: ViLSeg, tokenizer: Tokenizer
) -> None:
    with pytest.raises(ValueError, match=text):
        PatchSegmenter(model, tokenizer, ["dog"], inference=config)


def test_the_hash_of_the_weights_tells_weights_apart(model: ViLSeg) -> None:
    first = weights_hash(model)
    assert first == weights_hash(model)
    assert len(first) == 64
    weight = model.projection.weight
    with torch.no_grad():
        old = weight[0, 0].item()
        weight[0, 0] += 1e-3
        assert weights_hash(model) != first
        weight[0, 0] = old
    assert weights_hash(model) == first
