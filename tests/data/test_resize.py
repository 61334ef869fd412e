"""Resizing: Pillow's bicubic filter to within two levels, whatever the sizes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from vilseg_data.resize import pixels_of, planes, resize_square, resize_squares

sides = st.integers(1, 90)


def noise(height: int, width: int, *, seed: int) -> Tensor:
    """Noise that the filter, which overshoots by a quarter twice, leaves within 0 to 255."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(58, 198, (3, height, width), generator=generator, dtype=torch.uint8)


def picture_of(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


@given(sides, sides, sides, st.integers(0, 1000))
@settings(max_examples=200)
def test_it_is_the_bicubic_filter_of_pillow(height: int, width: int, size: int, seed: int) -> None:
    image = noise(height, width, seed=seed)
    expected = np.asarray(picture_of(image).resize((size, size), Image.Resampling.BICUBIC))
    resized = resize_square(image, size=size)
    assert resized.shape == (3, size, size)
    assert resized.is_contiguous()
    apart = np.abs(resized.permute(1, 2, 0).numpy().astype(int) - expected.astype(int))
    assert apart.max() <= 2
    # From a picture or from a tensor of any strides: the same.
    assert torch.equal(planes(pixels_of(picture_of(image)), size=size), resized)
    strided = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(resize_square(strided, size=size), resized)


@given(sides, sides, sides, st.integers(0, 1000))
@settings(max_examples=200)
def test_overshoot_is_clipped_between_rows_and_columns(
    height: int, width: int, size: int, seed: int
) -> None:
    image = (noise(height, width, seed=seed) > 127).byte() * 255

    def pass_of(values: Tensor, shape: tuple[int, int]) -> Tensor:
        filtered = F.interpolate(values, shape, mode="bicubic", antialias=True)
        return filtered.round().clamp(0, 255)

    expected = pass_of(pass_of(image[None].double(), (height, size)), (size, size))[0]
    assert (resize_square(image, size=size) - expected).abs().max() <= 2


def test_photos_are_those_of_pillow(shared_data: Path) -> None:
    photos = sorted((shared_data / "fixtures" / "voc" / "JPEGImages").glob("*.jpg"))
    assert len(photos) == 8
    for photo in photos:
        with Image.open(photo) as picture:
            expected = np.asarray(picture.resize((224, 224), Image.Resampling.BICUBIC))
            resized = planes(pixels_of(picture), size=224).permute(1, 2, 0).numpy()
        assert np.abs(resized.astype(int) - expected.astype(int)).max() <= 1


@given(sides, sides, st.integers(0, 255))
def test_a_constant_stays(height: int, size: int, value: int) -> None:
    image = torch.full((3, height, 2 * height), value, dtype=torch.uint8)
    assert (resize_square(image, size=size) == value).all()


def test_what_fits_is_left() -> None:
    image = noise(20, 20, seed=0)
    assert resize_square(image, size=20) is image
    assert torch.equal(planes(pixels_of(picture_of(image)), size=20), image)
    assert torch.equal(planes(pixels_of(picture_of(image)), size=None), image)


def test_images_of_any_sizes_become_one_batch() -> None:
    images = [noise(5, 9, seed=0), noise(30, 2, seed=1)]
    batch = resize_squares(images, size=8)
    assert batch.shape == (2, 3, 8, 8)
    for image, resized in zip(images, batch, strict=True):
        assert torch.equal(resize_square(image, size=8), resized)


def test_threads_change_nothing() -> None:
    images = [noise(40 + k, 50, seed=k) for k in range(40)]
    alone = [resize_square(image, size=16) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: resize_square(image, size=16), images))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(3, 4, 4),
        torch.zeros(1, 4, 4, dtype=torch.uint8),
        torch.zeros(3, 0, 4, dtype=torch.uint8),
    ],
)
def test_what_is_no_image_is_refused(image: Tensor) -> None:
    with pytest.raises(
        ValueError, match=r"image: expected uint8 of shape \(3, h, w\), came .* 4\);"
    ):
        resize_square(image, size=4)
