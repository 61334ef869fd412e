"""Filters as matrices, against loops over pixels."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.data.views.cases import dtypes, noise, seeds, sides
from torch import Tensor

from vilseg_data.views.filters import blur

widths = st.floats(0.1, 3)


@given(seeds, st.integers(1, 6), st.integers(1, 6), widths, widths)
def test_blur_is_the_loop_over_pixels(seed: int, h: int, w: int, wide: float, high: float) -> None:
    image = noise(1, 2, h, w, seed=seed, dtype=torch.float64)
    sigma = torch.tensor([[wide, high]], dtype=torch.float64)
    found = blur(image, sigma=sigma)

    def weight(away: int, width: float) -> float:
        return math.exp(-(away**2) / (2 * width**2))

    for i in range(h):
        for j in range(w):
            total, value = 0.0, torch.zeros(2, dtype=torch.float64)
            for a in range(h):
                for b in range(w):
                    share = weight(i - a, high) * weight(j - b, wide)
                    total += share
                    value += share * image[0, :, a, b]
            torch.testing.assert_close(found[0, :, i, j], value / total, rtol=0, atol=1e-9)


@given(seeds, st.integers(50, 70), st.integers(50, 70), st.floats(0.05, 1.5), st.floats(0.05, 1.5))
def test_blur_of_large_images_is_the_loop_over_rows_and_columns(
    seed: int, h: int, w: int, wide: float, high: float
) -> None:
    image = noise(1, 2, h, w, seed=seed, dtype=torch.float64)
    found = blur(image, sigma=torch.tensor([[wide, high]], dtype=torch.float64))

    def blurred_rows(values: Tensor, width: float) -> Tensor:
        columns = []
        for j in range(values.shape[-1]):
            shares = [math.exp(-((b - j) ** 2) / (2 * width**2)) for b in range(values.shape[-1])]
            weights = torch.tensor(shares, dtype=torch.float64) / sum(shares)
            columns.append((values * weights).sum(-1))
        return torch.stack(columns, -1)

    expected = blurred_rows(blurred_rows(image, wide).mT, high).mT
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert found.is_contiguous()


@given(seeds, st.integers(0, 3), sides, sides, dtypes)
def test_no_width_is_the_image_and_a_constant_stays(
    seed: int, n: int, h: int, w: int, dtype: torch.dtype
) -> None:
    images = noise(n, 3, h, w, seed=seed, dtype=dtype)
    assert torch.equal(blur(images, sigma=torch.zeros(n)), images)
    large = noise(n, 3, 40 + h, 40 + w, seed=seed, dtype=dtype)
    assert torch.equal(blur(large, sigma=torch.zeros(n)), large)
    flat = torch.full((n, 3, h, w), 0.5, dtype=dtype)
    torch.testing.assert_close(blur(flat, sigma=noise(n, seed=seed) * 3), flat)


@given(seeds, st.floats(0.8, 2))
def test_a_wave_keeps_the_share_a_gaussian_leaves_it(seed: int, sigma: float) -> None:
    k = 0.2 + float(noise(1, seed=seed))
    x = torch.arange(64, dtype=torch.float64)
    wave = torch.sin(k * x).expand(1, 1, 1, 64)
    found = blur(wave, sigma=torch.tensor([sigma], dtype=torch.float64))
    share = math.exp(-((sigma * k) ** 2) / 2)
    # At least 8 widths from the edges; sampling the Gaussian adds at most 3e-4, its aliases at k.
    torch.testing.assert_close(found[..., 16:-16], wave[..., 16:-16] * share, rtol=0, atol=1e-3)


@given(seeds, st.lists(widths, min_size=2, max_size=4))
def test_each_image_has_its_own_width(seed: int, sigmas: list[float]) -> None:
    images = noise(len(sigmas), 3, 7, 5, seed=seed)
    together = blur(images, sigma=torch.tensor(sigmas))
    for i, sigma in enumerate(sigmas):
        alone = blur(images[i : i + 1], sigma=torch.tensor([sigma]))
        torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize("side", [8, 64])
def test_autocast_does_not_touch_the_blur(side: int) -> None:
    images, sigma = noise(2, 3, side, side, seed=0), torch.tensor([0.7, 1.9])
    expected = blur(images, sigma=sigma)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(blur(images, sigma=sigma), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_computes_in_float32(dtype: torch.dtype) -> None:
    images, sigma = noise(2, 3, 8, 8, seed=0, dtype=dtype), torch.tensor([0.7, 1.9])
    assert torch.equal(blur(images, sigma=sigma), blur(images.float(), sigma=sigma).to(dtype))
