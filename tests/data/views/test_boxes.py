"""Crop boxes: where they lie, what is cut out, against Pillow and closed forms."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.data.views.cases import coordinates, generator, noise, seeds, sides

from vilseg_data.views import boxes, geometry
from vilseg_data.views.boxes import box_maps, crop, draw_boxes


@pytest.fixture(scope="module", autouse=True, params=["sums", "products"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Crops of images of any size, as sums of few pixels and as matrix products."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxes, "_FEW_PRODUCTS", -1 if request.param == "sums" else 2**62)
        yield request.param


shares = st.floats(0.01, 1)
ratios = st.floats(0.2, 5)


@settings(max_examples=200)
@given(seeds, st.integers(1, 90), st.integers(1, 90), st.data())
def test_boxes_lie_inside_with_their_share_and_ratio(
    seed: int, h: int, w: int, data: st.DataObject
) -> None:
    low, high = sorted(data.draw(st.tuples(shares, shares)))
    thin, wide = sorted(data.draw(st.tuples(ratios, ratios)))
    draws = torch.rand(50, 4, generator=generator(seed), dtype=torch.float64)
    boxes = draw_boxes(draws, size=(h, w), scale=(low, high), ratio=(thin, wide)).double()
    x0, y0, x1, y1 = boxes.unbind(-1)
    assert (x0 >= 0).all()
    assert (y0 >= 0).all()
    assert (x1 <= w).all()
    assert (y1 <= h).all()
    share = (x1 - x0) * (y1 - y0) / (w * h)
    torch.testing.assert_close(share, low + (high - low) * draws[:, 0], rtol=1e-3, atol=0)
    ratio = (x1 - x0) / (y1 - y0)
    # At share a, ratios from a w/h to w/(a h) fit.
    nearest = (share * w / h * 0.998).clamp(min=thin), (w / h / share * 1.002).clamp(max=wide)
    fits = nearest[0] <= nearest[1]
    assert (ratio[fits] >= thin * 0.998).all()
    assert (ratio[fits] <= wide * 1.002).all()
    whole = (x1 - x0 > w * 0.999) | (y1 - y0 > h * 0.999)
    assert whole[~fits].all()


def test_shares_are_uniform_and_ratios_are_uniform_in_the_logarithm() -> None:
    draws = torch.rand(20000, 4, generator=generator(0), dtype=torch.float64)
    boxes = draw_boxes(draws, size=(64, 64), scale=(0.1, 0.4), ratio=(0.5, 2.0)).double()
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    for values, low, high in (
        (width * height / 64**2, 0.1, 0.4),
        ((width / height).log(), -math.log(2), math.log(2)),
        (boxes[:, 0] / (64 - width), 0.0, 1.0),
        (boxes[:, 1] / (64 - height), 0.0, 1.0),
    ):
        quartiles = torch.quantile(
            (values - low) / (high - low), torch.tensor([0.25, 0.5, 0.75]).double()
        )
        torch.testing.assert_close(
            quartiles, torch.tensor([0.25, 0.5, 0.75]).double(), rtol=0, atol=0.02
        )


@settings(max_examples=200)
@given(seeds, st.integers(2, 40), st.integers(2, 40), st.integers(1, 20))
def test_a_crop_is_what_pillow_cuts(seed: int, h: int, w: int, size: int) -> None:
    image = noise(1, 1, h, w, seed=seed)
    draws = torch.rand(1, 1, 4, generator=generator(seed), dtype=torch.float64)
    boxes = draw_boxes(draws, size=(h, w), scale=(0.05, 1), ratio=(0.5, 2))
    view = crop(image, boxes, flips=torch.zeros(1, 1, dtype=torch.bool), size=size)
    expected = Image.fromarray(image[0, 0].numpy()).resize(
        (size, size), Image.Resampling.BILINEAR, box=tuple(boxes[0, 0].tolist())
    )
    np.testing.assert_allclose(view[0, 0, 0].numpy(), np.asarray(expected), rtol=0, atol=2e-5)


@settings(max_examples=200)
@given(seeds, sides, sides, st.integers(1, 20), st.sampled_from([torch.float32, torch.float64]))
def test_sums_of_few_pixels_are_the_matrix_products(
    seed: int, h: int, w: int, size: int, dtype: torch.dtype
) -> None:
    images = noise(2, 3, h, w, seed=seed, dtype=dtype)
    draws = torch.rand(3, 2, 5, generator=generator(seed), dtype=torch.float64)
    boxes = draw_boxes(draws[..., :4], size=(h, w), scale=(0.02, 1), ratio=(0.3, 3))
    few = crop(images, boxes, flips=draws[..., 4] < 0.5, size=size)
    # With gradients, views are products of matrices.
    wanted = images.clone().requires_grad_()
    dense = crop(wanted, boxes, flips=draws[..., 4] < 0.5, size=size)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(few, dense.detach(), rtol=0, atol=tolerance)
    torch.autograd.backward(dense.sum())
    assert wanted.grad is not None
    # Every view pixel is a mean, so the shares of the source pixels sum to their number.
    torch.testing.assert_close(
        wanted.grad.sum((1, 2, 3)), torch.full((2,), 9.0 * size**2, dtype=dtype), rtol=1e-4, atol=0
    )


@given(seeds, sides, sides, st.integers(1, 20))
def test_the_whole_image_is_what_interpolate_gives(seed: int, h: int, w: int, size: int) -> None:
    image = noise(2, 3, h, w, seed=seed, dtype=torch.float64)
    boxes = torch.tensor([0.0, 0.0, w, h]).expand(1, 2, 4)
    view = crop(image, boxes, flips=torch.zeros(1, 2, dtype=torch.bool), size=size)[0]
    expected = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
    torch.testing.assert_close(view, expected, rtol=0, atol=1e-9)


@given(seeds, sides, st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_the_whole_image_at_its_size_is_itself(seed: int, side: int, dtype: torch.dtype) -> None:
    image = noise(2, 3, side, side, seed=seed, dtype=dtype)
    boxes = torch.tensor([0.0, 0.0, side, side]).expand(1, 2, 4)
    flips = torch.tensor([[False, True]])
    view = crop(image, boxes, flips=flips, size=side)[0]
    assert torch.equal(view, torch.stack([image[0], image[1].flip(-1)]))


@given(seeds, st.integers(4, 40), st.integers(4, 40), st.integers(1, 20), st.booleans())
def test_a_crop_of_places_shows_the_places_of_its_box(
    seed: int, h: int, w: int, size: int, flipped: bool
) -> None:
    draws = torch.rand(3, 2, 4, generator=generator(seed), dtype=torch.float64)
    boxes = draw_boxes(draws, size=(h, w), scale=(0.05, 1), ratio=(0.5, 2))
    flips = torch.full((3, 2), flipped)
    views = crop(coordinates(2, size=(h, w)), boxes, flips=flips, size=size).flatten(0, 1)
    maps = box_maps(boxes.flatten(0, 1).double(), flips.flatten(), size=(h, w))
    places = (geometry.grid(maps, size=(size, size)) + 1) / 2 * torch.tensor([w, h])
    for axis, length in ((0, w), (1, h)):
        side = boxes.flatten(0, 1)[:, axis + 2] - boxes.flatten(0, 1)[:, axis]
        reach = (side / size).clamp(min=1)[:, None, None].double()
        place = places[..., axis]
        # Nearer to the edge the filter has nothing to weigh against. Where it spans a broken
        # number of pixels it is not exactly centred: at most 0.086 pixels off, (3 - sqrt 8) / 2.
        inside = (place - reach >= -0.5) & (place + reach <= length + 0.5)
        error = (views[:, axis] - place).abs()
        assert (error[inside & (reach == 1)] < 1e-6).all()
        assert (error[inside] < 0.086).all()


@given(seeds, st.integers(2, 30), st.integers(2, 30))
def test_views_map_on_one_another_through_their_boxes(seed: int, h: int, w: int) -> None:
    draws = torch.rand(2, 4, 4, generator=generator(seed), dtype=torch.float64)
    first, second = draw_boxes(draws, size=(h, w), scale=(0.1, 1), ratio=(0.5, 2)).double()
    flips = torch.rand(2, 4, generator=generator(seed)) < 0.5
    first_map = box_maps(first, flips[0], size=(h, w))
    second_map = box_maps(second, flips[1], size=(h, w))
    points = noise(4, 7, 2, seed=seed, dtype=torch.float64) * 2 - 1
    across = geometry.compose(geometry.invert(first_map), second_map)
    torch.testing.assert_close(
        geometry.transform(first_map, geometry.transform(across, points)),
        geometry.transform(second_map, points),
        rtol=0,
        atol=1e-6,
    )


@given(seeds, sides)
def test_a_constant_image_stays_constant(seed: int, size: int) -> None:
    draws = torch.rand(4, 1, 4, generator=generator(seed), dtype=torch.float64)
    boxes = draw_boxes(draws, size=(9, 13), scale=(0.01, 1), ratio=(0.5, 2))
    views = crop(
        torch.full((1, 3, 9, 13), 0.7), boxes, flips=torch.zeros(4, 1, dtype=torch.bool), size=size
    )
    torch.testing.assert_close(views, torch.full_like(views, 0.7), rtol=0, atol=1e-6)


def test_autocast_does_not_touch_crops() -> None:
    image = noise(1, 3, 8, 8, seed=0)
    boxes = torch.tensor([[[1.5, 2.0, 7.0, 6.5]]])
    flips = torch.zeros(1, 1, dtype=torch.bool)
    expected = crop(image, boxes, flips=flips, size=5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(crop(image, boxes, flips=flips, size=5), expected)


@pytest.mark.parametrize("layout", ["channels_last", "expanded", "sliced"])
def test_any_strides_give_the_same_crop(layout: str) -> None:
    image = noise(2, 3, 8, 10, seed=0)
    strided = {
        "channels_last": image.contiguous(memory_format=torch.channels_last),
        "expanded": image[:1].expand(2, 3, 8, 10),
        "sliced": F.pad(image, (1, 2, 3, 4))[..., 3:-4, 1:-2],
    }[layout]
    boxes = torch.tensor([[[1.0, 2.0, 7.0, 6.5], [0.0, 0.0, 10.0, 8.0]]])
    flips = torch.tensor([[True, False]])
    expected = crop(
        strided.clone(memory_format=torch.contiguous_format), boxes, flips=flips, size=5
    )
    torch.testing.assert_close(crop(strided, boxes, flips=flips, size=5), expected)
