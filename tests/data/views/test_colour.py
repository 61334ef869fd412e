"""Colour changes against loops over pixels."""

import colorsys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.data.views.cases import noise, seeds

from vilseg_data.views.colour import (
    LUMA,
    jitter,
    scale_and_shift,
    solarise,
    turn_hue,
    undo_scale_and_shift,
)

factors = st.floats(0, 2)


@given(seeds, factors, factors, factors)
def test_jitter_is_the_loop_over_pixels(
    seed: int, brightness: float, contrast: float, saturation: float
) -> None:
    image = noise(1, 3, 3, 4, seed=seed, dtype=torch.float64)
    found = jitter(
        image,
        brightness=torch.tensor([brightness]),
        contrast=torch.tensor([contrast]),
        saturation=torch.tensor([saturation]),
    )
    brightness, contrast, saturation = (
        float(torch.tensor(x)) for x in (brightness, contrast, saturation)
    )
    pixels = [[[brightness * float(v) for v in row] for row in plane] for plane in image[0]]
    luma = [[sum(LUMA[c] * pixels[c][i][j] for c in range(3)) for j in range(4)] for i in range(3)]
    mean = sum(sum(row) for row in luma) / 12
    for i in range(3):
        for j in range(4):
            rgb = [contrast * pixels[c][i][j] + (1 - contrast) * mean for c in range(3)]
            own = sum(LUMA[c] * rgb[c] for c in range(3))
            for c in range(3):
                value = saturation * rgb[c] + (1 - saturation) * own
                assert float(found[0, c, i, j]) == pytest.approx(min(max(value, 0), 1), abs=1e-6)


@given(seeds)
def test_factors_of_one_change_nothing(seed: int) -> None:
    images = noise(2, 3, 4, 5, seed=seed)
    ones = torch.ones(2)
    assert torch.equal(jitter(images, brightness=ones, contrast=ones, saturation=ones), images)


def test_saturation_zero_is_grey_and_contrast_zero_is_flat() -> None:
    images, ones, zeros = noise(2, 3, 4, 5, seed=0), torch.ones(2), torch.zeros(2)
    plain = jitter(images, brightness=ones, contrast=ones, saturation=zeros)
    torch.testing.assert_close(plain[:, 0], plain[:, 2])
    flat = jitter(images, brightness=ones, contrast=zeros, saturation=ones)
    torch.testing.assert_close(flat, flat[:, :, :1, :1].expand_as(flat))


@given(seeds, st.integers(1, 4))
def test_scale_and_shift_is_undone(seed: int, n: int) -> None:
    images = noise(n, 3, 4, 5, seed=seed, dtype=torch.float64)
    gain = noise(n, 3, seed=seed + 1) + 0.5
    bias = noise(n, 3, seed=seed + 2) - 0.5
    changed = scale_and_shift(images, gain=gain, bias=bias)
    for i in range(n):
        for c in range(3):
            expected = images[i, c] * gain[i, c].double() + bias[i, c].double()
            torch.testing.assert_close(changed[i, c], expected)
    restored = undo_scale_and_shift(changed, gain=gain, bias=bias)
    torch.testing.assert_close(restored, images, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_computes_in_float32(dtype: torch.dtype) -> None:
    images = noise(2, 3, 4, 5, seed=0, dtype=dtype)
    gain, bias = noise(2, 3, seed=1), noise(2, 3, seed=2)
    found = scale_and_shift(images, gain=gain, bias=bias)
    assert torch.equal(found, scale_and_shift(images.float(), gain=gain, bias=bias).to(dtype))


@given(seeds, st.floats(-1, 1), st.booleans())
def test_turning_the_hue_is_the_loop_through_hsv(seed: int, turn: float, coarse: bool) -> None:
    image = noise(1, 3, 4, 5, seed=seed, dtype=torch.float64)
    if coarse:  # ties between channels, and grey
        image = (image * 3).round() / 3
    turn = float(torch.tensor(turn))
    found = turn_hue(image, turn=torch.tensor([turn]))
    for i in range(4):
        for j in range(5):
            h, s, v = colorsys.rgb_to_hsv(*image[0, :, i, j].tolist())
            expected = torch.tensor(colorsys.hsv_to_rgb((h + turn) % 1, s, v)).double()
            torch.testing.assert_close(found[0, :, i, j], expected, rtol=0, atol=1e-6)


@given(seeds, st.floats(-0.5, 0.5))
def test_hues_add_up_and_keep_the_extremes(seed: int, turn: float) -> None:
    images = noise(2, 3, 4, 5, seed=seed, dtype=torch.float64)
    once, back = torch.tensor([turn, 1.0]), torch.tensor([-turn, 0.0])
    turned = turn_hue(images, turn=once)
    torch.testing.assert_close(turned.amax(1), images.amax(1), rtol=0, atol=1e-9)
    torch.testing.assert_close(turned.amin(1), images.amin(1), rtol=0, atol=1e-9)
    torch.testing.assert_close(turn_hue(turned, turn=back), images, rtol=0, atol=1e-6)


@given(seeds, st.floats(0, 1))
def test_solarise_inverts_what_is_bright(seed: int, threshold: float) -> None:
    images = noise(2, 3, 4, 5, seed=seed)
    found = solarise(images, threshold=threshold)
    for before, after in zip(images.flatten().tolist(), found.flatten().tolist(), strict=True):
        inverted = pytest.approx(1 - before, abs=1e-6)
        assert after == (inverted if before >= torch.tensor(threshold).item() else before)
