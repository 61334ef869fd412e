"""MultiCrop: shapes, places, randomness, refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.views.cases import Elsewhere, dtypes, generator, noise, seeds

from vilseg_data.views import MultiCrop, Views
from vilseg_data.views.boxes import crop


def assert_same(first: Views, second: Views) -> None:
    for name, value in vars(first).items():
        assert torch.equal(value, getattr(second, name)), name


@given(seeds, st.integers(0, 3), st.integers(0, 4), dtypes)
def test_shapes_and_dtypes(seed: int, n: int, num_local: int, dtype: torch.dtype) -> None:
    images = noise(n, 3, 12, 9, seed=seed, dtype=dtype)
    multicrop = MultiCrop(global_size=10, local_size=4, num_local=num_local, brightness=0.2)
    views = multicrop(images, generator=generator(seed))
    assert views.global_view.shape == (n, 3, 10, 10)
    assert views.local_views.shape == (num_local, n, 3, 4, 4)
    assert views.global_boxes.shape == (n, 4)
    assert views.local_boxes.shape == (num_local, n, 4)
    assert views.global_flips.shape == (n,)
    assert views.local_flips.shape == (num_local, n)
    assert views.global_view.dtype == views.local_views.dtype == dtype
    assert views.global_boxes.dtype == views.local_boxes.dtype == torch.float32
    assert views.global_flips.dtype == views.local_flips.dtype == torch.bool


@settings(max_examples=200)
@given(seeds, st.integers(1, 3), dtypes)
def test_views_are_the_crops_of_their_boxes(seed: int, n: int, dtype: torch.dtype) -> None:
    images = noise(n, 3, 12, 15, seed=seed, dtype=dtype)
    views = MultiCrop(global_size=10, local_size=4)(images, generator=generator(seed))
    for i in range(n):
        for boxes, flips, found in (
            (views.global_boxes[i], views.global_flips[i], views.global_view[i]),
            (views.local_boxes[5, i], views.local_flips[5, i], views.local_views[5, i]),
        ):
            straight = crop(
                images[i : i + 1],
                boxes[None, None],
                flips=torch.zeros(1, 1, dtype=torch.bool),
                size=found.shape[-1],
            )[0, 0]
            torch.testing.assert_close(found, straight.flip(-1) if flips else straight)


@given(seeds, st.integers(1, 3), st.integers(1, 20), dtypes)
def test_the_whole_image_unflipped_is_itself(
    seed: int, n: int, side: int, dtype: torch.dtype
) -> None:
    images = noise(n, 3, side, side, seed=seed, dtype=dtype)
    multicrop = MultiCrop(global_size=side, local_size=2, global_scale=(1, 1), flip=0.0)
    views = multicrop(images, generator=generator(seed))
    assert torch.equal(views.global_view, images)
    assert torch.equal(views.global_boxes, torch.tensor([[0.0, 0.0, side, side]]).expand(n, 4))


@pytest.mark.slow
@settings(max_examples=200)
@given(seeds, st.integers(0, 100))
def test_the_generator_alone_decides(seed: int, other: int) -> None:
    images = noise(2, 3, 12, 9, seed=seed)
    multicrop = MultiCrop(global_size=10, local_size=4, num_local=2, contrast=0.3)
    torch.manual_seed(other)
    before = torch.get_rng_state()
    first = multicrop(images, generator=generator(seed))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(other + 1)
    assert_same(first, multicrop(images, generator=generator(seed)))
    third = multicrop(images, generator=generator(seed + 1))
    assert not torch.equal(first.local_boxes, third.local_boxes)


@given(seeds, st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_rows_get_the_views_they_have_in_the_whole_batch(
    seed: int, first: int, count: int, looks: bool
) -> None:
    crop_all = MultiCrop(global_size=12, local_size=6, num_local=2, grey=0.5 if looks else 0.0)
    images, whole, part = noise(6, 3, 16, 16, seed=seed), generator(seed), generator(seed)
    views = crop_all(images, generator=whole)
    own = slice(first, first + count)
    rows = crop_all(images[own], generator=part, rows=(first, 6))
    # The products behind a crop may sum in another order for another number of images.
    torch.testing.assert_close(rows.global_view, views.global_view[own], rtol=0, atol=1e-6)
    torch.testing.assert_close(rows.local_views, views.local_views[:, own], rtol=0, atol=1e-6)
    assert torch.equal(rows.local_boxes, views.local_boxes[:, own])
    assert torch.equal(whole.get_state(), part.get_state())


def test_rows_lie_within_their_batch() -> None:
    with pytest.raises(ValueError, match="rows: expected 3 images within a batch of 4, came them"):
        MultiCrop(global_size=8, local_size=8)(noise(3, 3, 8, 8, seed=0), rows=(2, 4))


def test_without_a_generator_the_global_one_decides() -> None:
    images, multicrop = noise(2, 3, 12, 9, seed=0), MultiCrop(global_size=10, local_size=4)
    torch.manual_seed(3)
    first = multicrop(images)
    second = multicrop(images)
    torch.manual_seed(3)
    assert_same(first, multicrop(images))
    assert not torch.equal(first.global_boxes, second.global_boxes)


def test_colours_and_dtypes_do_not_move_boxes() -> None:
    images = noise(2, 3, 12, 9, seed=0)
    plain = MultiCrop(global_size=10, local_size=4)(images, generator=generator(1))
    vivid = MultiCrop(global_size=10, local_size=4, saturation=0.5)(
        images.double(), generator=generator(1)
    )
    assert torch.equal(plain.local_boxes, vivid.local_boxes)
    assert torch.equal(plain.local_flips, vivid.local_flips)
    assert not torch.equal(plain.local_views, vivid.local_views.float())


def test_colours_differ_between_views_and_stay_in_range() -> None:
    images = torch.full((2, 3, 8, 8), 0.8)
    multicrop = MultiCrop(global_size=8, local_size=8, brightness=0.5)
    views = multicrop(images, generator=generator(0))
    values = torch.cat([views.global_view[None], views.local_views]).flatten(2)
    torch.testing.assert_close(values.amin(-1), values.amax(-1))
    levels = values[..., 0].flatten()
    assert len(set(levels.tolist())) > 8
    assert float(levels.min()) >= 0.4 - 1e-6
    assert float(levels.max()) <= 1.0


def test_flip_is_a_probability() -> None:
    images = torch.rand(1, 3, 2, 2, generator=generator(0)).expand(2000, 3, 2, 2)
    for flip, low, high in ((0.0, 0, 0), (0.25, 0.21, 0.29), (1.0, 1, 1)):
        multicrop = MultiCrop(global_size=1, local_size=1, num_local=1, flip=flip)
        share = multicrop(images, generator=generator(0)).global_flips.float().mean()
        assert low <= float(share) <= high


def test_nothing_is_written_into_the_images() -> None:
    images = noise(2, 3, 12, 12, seed=0)
    copy = images.clone()
    multicrop = MultiCrop(global_size=12, local_size=4, global_scale=(1, 1), flip=0, brightness=0.4)
    views = multicrop(images, generator=generator(0))
    views.global_view.zero_()
    assert torch.equal(images, copy)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_generator_on_the_cpu_gives_the_same_views_on_cuda() -> None:
    images = noise(3, 3, 33, 21, seed=0)
    multicrop = MultiCrop(
        global_size=32, local_size=12, contrast=0.3, hue=0.1, grey=0.3, blur=0.5, solarise=(0.5, 0)
    )
    here = multicrop(images, generator=generator(0))
    there = multicrop(images.cuda(), generator=generator(0))
    assert there.local_views.is_cuda
    for name, value in vars(here).items():
        torch.testing.assert_close(getattr(there, name).cpu(), value, rtol=0, atol=1e-5)
    same = MultiCrop(global_size=33, local_size=12, global_scale=(1, 1), flip=0)
    square = noise(2, 3, 33, 33, seed=1).cuda()
    assert torch.equal(same(square).global_view, square)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
            r"torch\.uint8; convert with images\.float\(\) / 255",
        ),
        (torch.zeros(3, 4, 4), r"expected shape \(n, 3, h, w\).*came \(3, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4), r"expected shape \(n, 3, h, w\).*came \(1, 1, 4, 4\)"),
        (torch.zeros(1, 3, 0, 4), r"with h, w >= 1, came \(1, 3, 0, 4\)"),
    ],
)
def test_images_are_refused(images: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiCrop(global_size=4, local_size=2)(images)


def test_generators_are_refused() -> None:
    images, multicrop = torch.zeros(1, 3, 4, 4), MultiCrop(global_size=4, local_size=2)
    with pytest.raises(
        ValueError, match=r"generator: .* or on cpu, .* came one on cuda:1; torch\.G"
    ):
        multicrop(images, generator=Elsewhere())
    with pytest.raises(ValueError, match=r"generator: expected a torch\.Generator, came int; make"):
        multicrop(images, generator=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"global_size": 0}, "global_size: expected an integer of at least 1, came 0"),
        ({"local_size": -2}, "local_size: expected an integer of at least 1, came -2"),
        ({"local_size": 4.5}, r"local_size: .* came 4\.5; give it in whole pixels"),
        ({"num_local": -1}, "num_local: expected an integer of at least 0, came -1"),
        ({"global_scale": (0.5, 0.2)}, r"global_scale: expected \(low, high\).*came \(0.5, 0.2\)"),
        ({"local_scale": (0.0, 0.2)}, r"local_scale: .*0 < low"),
        ({"local_scale": (0.1, 1.2)}, r"local_scale: .*high <= 1, came"),
        ({"ratio": (1.0, float("inf"))}, "ratio: "),
        ({"flip": 1.5}, "flip: expected a number from 0 to 1, came 1.5"),
        ({"contrast": float("nan")}, "contrast: expected a number from 0 to 1, came nan"),
    ],
)
def test_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiCrop(**({"global_size": 8, "local_size": 4} | options))  # type: ignore[arg-type]
