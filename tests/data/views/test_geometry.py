"""Affine maps: the algebra, the direction, the grid, the sampling."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.data.views.cases import coordinates, generator, noise, seeds, sides
from torch import Tensor

from vilseg_data.views import geometry


def random_maps(n: int, *, seed: int, aspect: float = 1.0) -> Tensor:
    draws = torch.rand(n, 4, generator=generator(seed), dtype=torch.float64)
    return geometry.similarity(
        degrees=draws[:, 0] * 360 - 180,
        zoom=draws[:, 1] * 1.5 + 0.5,
        shift=draws[:, 2:] - 0.5,
        aspect=aspect,
    )


@given(seeds, st.integers(1, 4), st.floats(0.3, 3))
def test_composing_maps_is_sending_points_through_both(seed: int, n: int, aspect: float) -> None:
    first, second = random_maps(n, seed=seed, aspect=aspect), random_maps(n, seed=seed + 1)
    points = noise(n, 3, 5, 2, seed=seed, dtype=torch.float64) * 4 - 2
    both = geometry.transform(geometry.compose(first, second), points)
    one_by_one = geometry.transform(first, geometry.transform(second, points))
    torch.testing.assert_close(both, one_by_one, rtol=1e-10, atol=1e-10)


@given(seeds, st.integers(1, 4), st.floats(0.3, 3))
def test_a_map_and_its_inverse_cancel(seed: int, n: int, aspect: float) -> None:
    maps = random_maps(n, seed=seed, aspect=aspect)
    identity = geometry.identity(n, dtype=torch.float64, device="cpu")
    for product in (
        geometry.compose(maps, geometry.invert(maps)),
        geometry.compose(geometry.invert(maps), maps),
    ):
        torch.testing.assert_close(product, identity, rtol=0, atol=1e-9)


@given(seeds, sides, sides)
def test_the_grid_is_the_map_of_pixel_centres(seed: int, h: int, w: int) -> None:
    maps = random_maps(2, seed=seed)
    grid = geometry.grid(maps, size=(h, w))
    assert grid.shape == (2, h, w, 2)
    for row, column in ((0, 0), (h - 1, w // 2), (h // 2, w - 1)):
        centre = torch.tensor([(2 * column + 1) / w - 1, (2 * row + 1) / h - 1]).double()
        expected = geometry.transform(maps, centre.expand(2, 2))
        torch.testing.assert_close(grid[:, row, column], expected)


@given(seeds, st.integers(2, 9), st.integers(2, 9))
def test_nearest_sampling_is_a_table_lookup(seed: int, h: int, w: int) -> None:
    values = torch.arange(h * w).view(1, 1, h, w)
    maps = random_maps(1, seed=seed)
    warped = geometry.sample(values, maps, mode="nearest", fill=-1)
    assert warped.dtype == torch.int64
    for row in range(h):
        for column in range(w):
            at = torch.tensor([[(2 * column + 1) / w - 1, (2 * row + 1) / h - 1]]).double()
            x, y = geometry.transform(maps, at)[0].tolist()
            x, y = (x + 1) / 2 * w, (y + 1) / 2 * h
            if min(abs(x - round(x)), abs(y - round(y))) < 1e-6:
                continue  # on the border of two pixels either may be taken
            inside = 0 <= x < w and 0 <= y < h
            expected = math.floor(y) * w + math.floor(x) if inside else -1
            assert warped[0, 0, row, column] == expected


@given(seeds, st.integers(2, 9), st.integers(2, 9))
def test_bilinear_sampling_is_exact_on_places(seed: int, h: int, w: int) -> None:
    places = coordinates(1, size=(h, w))
    maps = random_maps(1, seed=seed)
    warped = geometry.sample(places, maps, fill=0.0)
    whole = warped[0, 2] > 1 - 1e-9
    expected = (geometry.grid(maps, size=(h, w))[0] + 1) / 2 * torch.tensor([w, h])
    found = warped[0, :2].permute(1, 2, 0)
    torch.testing.assert_close(found[whole], expected[whole], rtol=0, atol=1e-6)


def test_a_quarter_turn_is_clockwise() -> None:
    image = noise(1, 3, 8, 8, seed=0, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    maps = geometry.similarity(degrees=90 * one, zoom=one, shift=torch.zeros(1, 2).double())
    turned = geometry.sample(image, maps)
    torch.testing.assert_close(turned, image.rot90(-1, (-2, -1)), rtol=0, atol=1e-9)


def test_a_shift_moves_the_content_right_and_down() -> None:
    image = noise(1, 3, 8, 8, seed=0, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    maps = geometry.similarity(
        degrees=0 * one, zoom=one, shift=torch.tensor([[0.25, 0.125]]).double()
    )
    moved = geometry.sample(image, maps, fill=0.0)
    torch.testing.assert_close(moved[..., 1:, 2:], image[..., :-1, :-2])
    assert not moved[..., 0, :].any()
    assert not moved[..., :2].any()


def test_a_zoom_of_two_shows_the_middle_half() -> None:
    two = torch.full((1,), 2.0)
    maps = geometry.similarity(degrees=torch.zeros(1), zoom=two, shift=torch.zeros(1, 2))
    corner = geometry.transform(maps, torch.tensor([[1.0, -1.0]]))
    torch.testing.assert_close(corner, torch.tensor([[0.5, -0.5]]))


@given(st.floats(-180, 180), st.floats(0.3, 3))
def test_turning_keeps_lengths_on_images_that_are_not_square(degrees: float, aspect: float) -> None:
    one = torch.ones(1, dtype=torch.float64)
    maps = geometry.similarity(
        degrees=degrees * one, zoom=one, shift=torch.zeros(1, 2).double(), aspect=aspect
    )
    measure = torch.tensor([aspect, 1.0]).double()  # heights, in both directions
    point = torch.tensor([[0.3, -0.7]]).double()
    before, after = ((p * measure).norm() for p in (point, geometry.transform(maps, point)))
    torch.testing.assert_close(before, after)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.uint8])
def test_sampling_keeps_the_dtype(dtype: torch.dtype) -> None:
    values = torch.arange(16).view(1, 1, 4, 4).to(dtype)
    identity = geometry.identity(1, device="cpu")
    same = geometry.sample(values, identity, mode="nearest")
    assert same.dtype == dtype
    assert torch.equal(same, values)
