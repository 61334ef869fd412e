"""InvertibleAugmentation: what was applied is undone, on pixels and on features."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.data.views.cases import Wave, coordinates, dtypes, generator, noise, seeds, sides
from torch import Tensor

from vilseg_data.views import AugmentationParams, InvertibleAugmentation, geometry

FLIPS = InvertibleAugmentation(gain=0, bias=0)
AFFINE = InvertibleAugmentation(gain=0, bias=0, degrees=40, translate=0.2, scale=(0.7, 1.4))
COLOUR = InvertibleAugmentation()
IDENTITY = geometry.identity(1, dtype=torch.float64, device="cpu")


def whole_map(params: AugmentationParams) -> Tensor:
    """Flip and affine map of one image as one map, float64."""
    assert params.affine is not None
    mirror = IDENTITY * torch.tensor([[-1.0, 1, 1], [1, 1, 1]])
    return geometry.compose(mirror if params.flip[0] else IDENTITY, params.affine.double())


@given(seeds, st.integers(0, 4), sides, sides, dtypes)
def test_flips_of_images_are_undone_exactly(
    seed: int, n: int, h: int, w: int, dtype: torch.dtype
) -> None:
    images = noise(n, 3, h, w, seed=seed, dtype=dtype)
    params = FLIPS.sample(n, generator=generator(seed))
    changed = FLIPS.apply(images, params)
    for i in range(n):
        assert torch.equal(changed[i], images[i].flip(-1) if params.flip[i] else images[i])
    restored, valid = FLIPS.invert(changed, params)
    assert torch.equal(restored, images)
    assert restored.dtype == dtype
    assert valid.shape == (n, 1, h, w)
    assert valid.dtype == torch.bool
    assert valid.all()


@given(seeds, st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 2, 4]))
def test_flips_are_undone_exactly_on_features_of_any_stride(
    seed: int, n: int, h: int, w: int, stride: int
) -> None:
    images = noise(n, 3, h * stride, w * stride, seed=seed)
    params = COLOUR.sample(n, generator=generator(seed))
    changed = FLIPS.apply(images, params, colour=False)
    features = F.max_pool2d(changed, stride).repeat(1, 5, 1, 1)
    restored, valid = FLIPS.invert(features, params)
    assert torch.equal(restored, F.max_pool2d(images, stride).repeat(1, 5, 1, 1))
    assert valid.shape == (n, 1, h, w)
    assert valid.all()


@given(seeds, st.integers(16, 32), st.integers(16, 32))
def test_affine_maps_are_undone_within_the_stated_bound(seed: int, h: int, w: int) -> None:
    wave = Wave(seed, size=(h, w), steepness=0.6)
    image = wave.at(geometry.grid(IDENTITY, size=(h, w)))[:, None]
    params = AFFINE.sample(1, generator=generator(seed), aspect=w / h)
    changed = AFFINE.apply(image, params, colour=False)
    restored, valid = AFFINE.invert(changed, params)
    bound = (wave.curvature() + wave.curvature(whole_map(params))) / 8
    assert valid.any()
    # The mask lets a share of 1e-3 in from outside, at two places of interpolation.
    assert float((restored - image).abs()[valid].max()) <= bound + 2e-3


@given(seeds, st.integers(10, 24), st.integers(10, 24))
def test_places_come_back_to_their_place(seed: int, h: int, w: int) -> None:
    places = coordinates(2, size=(h, w))
    params = AFFINE.sample(2, generator=generator(seed), aspect=w / h)
    changed = AFFINE.apply(places, params, fill=0.0)
    restored, valid = AFFINE.invert(changed, params)
    assert valid.any()
    off = (restored - places).abs() * valid
    # Bilinear interpolation is exact on places; 1e-3 of w or h may leak in at the rim.
    assert float(off.max()) <= 2e-3 * max(h, w)
    inner = valid & (restored[:, 2:] > 1 - 1e-5)
    assert float(((restored - places).abs() * inner).max()) < 1e-3


@given(seeds, st.integers(8, 16), st.integers(8, 16))
def test_features_come_back_within_the_stated_bound(seed: int, h: int, w: int) -> None:
    # Features of the changed image, as an encoder that sees places well would give them.
    wave = Wave(seed, size=(h, w), steepness=0.5)
    params = AFFINE.sample(1, generator=generator(seed))
    features = wave.at(geometry.grid(whole_map(params), size=(h, w)))[:, None]
    restored, valid = AFFINE.invert(features, params)
    truth = wave.at(geometry.grid(IDENTITY, size=(h, w)))[:, None]
    bound = wave.curvature(whole_map(params)) / 8
    assert valid.shape == (1, 1, h, w)
    assert valid.any()
    assert float((restored - truth).abs()[valid].max()) <= bound + 1e-3


@given(seeds, st.integers(3, 20), st.integers(3, 20))
def test_what_is_not_valid_reaches_outside(seed: int, h: int, w: int) -> None:
    params = AFFINE.sample(1, generator=generator(seed))
    ones = torch.ones(1, 1, h, w, dtype=torch.float64)
    seen = AFFINE.apply(ones, params, colour=False, fill=0.0)
    restored, valid = AFFINE.invert(seen, params)
    assert (restored[valid] > 0.998).all()
    assert (restored[~valid] < 0.9991).all()


@given(seeds, st.integers(1, 4), sides, sides)
def test_colours_and_flips_compose(seed: int, n: int, h: int, w: int) -> None:
    images = noise(n, 3, h, w, seed=seed, dtype=torch.float64)
    first = COLOUR.sample(n, generator=generator(seed))
    second = COLOUR.sample(n, generator=generator(seed + 1))
    one_by_one = COLOUR.apply(COLOUR.apply(images, first), second)
    torch.testing.assert_close(
        COLOUR.apply(images, first.compose(second)), one_by_one, rtol=0, atol=1e-6
    )


@given(seeds, st.integers(8, 20), st.integers(8, 20), st.booleans(), st.booleans())
def test_affine_maps_compose(seed: int, h: int, w: int, plain: bool, last_plain: bool) -> None:
    places = coordinates(2, size=(h, w))
    first = (FLIPS if plain else AFFINE).sample(2, generator=generator(seed))
    second = (FLIPS if last_plain else AFFINE).sample(2, generator=generator(seed + 1))
    one_by_one = AFFINE.apply(AFFINE.apply(places, first, fill=0.0), second, fill=0.0)
    at_once = AFFINE.apply(places, first.compose(second), fill=0.0)
    whole = (one_by_one[:, 2:] > 1 - 1e-6) & (at_once[:, 2:] > 1 - 1e-6)
    assert float(((at_once - one_by_one).abs() * whole).max()) < 1e-3


@given(seeds, st.integers(1, 4), sides, sides)
def test_colour_is_a_gain_and_a_bias_within_their_range(seed: int, n: int, h: int, w: int) -> None:
    images = noise(n, 3, h, w, seed=seed, dtype=torch.float64)
    colour = InvertibleAugmentation(gain=0.2, bias=0.05, flip=0)
    params = colour.sample(n, generator=generator(seed))
    assert float((params.gain - 1).abs().max()) <= 0.2 + 1e-6
    assert float(params.bias.abs().max()) <= 0.05 + 1e-6
    expected = images * params.gain[:, :, None, None] + params.bias[:, :, None, None]
    torch.testing.assert_close(colour.apply(images, params), expected.double())


@given(seeds, sides, sides, st.sampled_from([torch.int64, torch.uint8, torch.int32]))
def test_label_maps_keep_their_labels(seed: int, h: int, w: int, dtype: torch.dtype) -> None:
    labels = torch.randint(0, 21, (2, 1, h, w), generator=generator(seed)).to(dtype)
    params = AFFINE.sample(2, generator=generator(seed))
    moved = AFFINE.apply(labels, params, mode="nearest", colour=False, fill=255)
    assert moved.dtype == dtype
    for before, after in zip(labels, moved, strict=True):
        assert set(after.flatten().tolist()) <= set(before.flatten().tolist()) | {255}
    flat = AugmentationParams(gain=params.gain, bias=params.bias, flip=params.flip)
    flipped = FLIPS.apply(labels, flat, mode="nearest", colour=False)
    assert torch.equal(FLIPS.invert(flipped, flat, mode="nearest")[0], labels)


@given(seeds, st.integers(0, 100))
def test_the_generator_alone_decides(seed: int, other: int) -> None:
    torch.manual_seed(other)
    before = torch.get_rng_state()
    first = AFFINE.sample(3, generator=generator(seed))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(other + 1)
    second = AFFINE.sample(3, generator=generator(seed))
    for name in ("gain", "bias", "flip", "affine"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    # Options do not shift the numbers of one another.
    assert torch.equal(first.flip, FLIPS.sample(3, generator=generator(seed)).flip)


def test_gradients_flow_back_through_the_inverse() -> None:
    params = AFFINE.sample(2, generator=generator(0))
    features = noise(2, 2, 4, 5, seed=1, dtype=torch.float64).requires_grad_()

    def restored(values: Tensor) -> Tensor:
        return AFFINE.invert(values, params)[0]

    assert torch.autograd.gradcheck(restored, (features,))


def test_nothing_is_written_into_the_images() -> None:
    images = noise(2, 3, 6, 6, seed=0)
    copy = images.clone()
    for augmentation in (FLIPS, AFFINE, COLOUR):
        params = augmentation.sample(2, generator=generator(0))
        changed = augmentation.apply(images, params)
        augmentation.invert(changed, params)[0].zero_()
        changed.zero_()
        assert torch.equal(images, copy)


def test_outside_is_reflected_or_filled() -> None:
    image = torch.arange(4.0).view(1, 1, 1, 4)
    shift = torch.tensor([[[1.0, 0, -1.0], [0, 1, 0]]])  # looks half a width to the left
    params = AugmentationParams.from_affine(shift)
    moved = AFFINE.apply(image, params, colour=False)
    torch.testing.assert_close(moved.flatten(), torch.tensor([1.0, 0, 0, 1]))
    filled = AFFINE.apply(image, params, colour=False, fill=9.0)
    torch.testing.assert_close(filled.flatten(), torch.tensor([9.0, 9, 0, 1]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_does_as_the_cpu_does() -> None:
    images = noise(3, 3, 17, 21, seed=0)
    mixed = InvertibleAugmentation(degrees=30, translate=0.1, scale=(0.8, 1.2))
    params = mixed.sample(3, generator=generator(0))
    on_device = mixed.sample(3, generator=generator(0), device="cuda")
    changed = mixed.apply(images, params)
    there = mixed.apply(images.cuda(), on_device)
    torch.testing.assert_close(there.cpu(), changed, rtol=0, atol=1e-4)
    restored, valid = mixed.invert(there, params)
    assert valid.is_cuda
    torch.testing.assert_close(restored.cpu(), mixed.invert(changed, params)[0], rtol=0, atol=1e-4)
    flips = FLIPS.sample(3, generator=generator(0), device="cuda")
    assert torch.equal(FLIPS.invert(FLIPS.apply(images.cuda(), flips), flips)[0].cpu(), images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gain": 1.0}, "gain: expected a number from 0 to 0.99, came 1.0"),
        ({"bias": -0.1}, "bias: expected a number from 0 to 1, came -0.1"),
        ({"flip": 2.0}, "flip: expected a number from 0 to 1"),
        ({"degrees": 200.0}, "degrees: expected a number from 0 to 180"),
        ({"translate": float("inf")}, "translate: expected a number"),
        ({"scale": (0.0, 1.0)}, r"scale: expected \(low, high\) with 0 < low"),
    ],
)
def test_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InvertibleAugmentation(**options)  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused() -> None:
    params = FLIPS.sample(2, generator=generator(0))
    with pytest.raises(ValueError, match=r"images: expected floating point.*torch\.uint8; convert"):
        FLIPS.apply(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), params)
    with pytest.raises(ValueError, match=r"images: expected shape \(n, 3, h, w\)"):
        FLIPS.apply(torch.zeros(2, 1, 4, 4), params)
    with pytest.raises(ValueError, match=r'to interpolate, came torch.int64; pass mode="nearest"'):
        FLIPS.apply(torch.zeros(2, 1, 4, 4, dtype=torch.int64), params, colour=False)
    with pytest.raises(
        ValueError, match=r"params: expected one set for each of the 3 images, came 2"
    ):
        FLIPS.apply(torch.zeros(3, 3, 4, 4), params)
    with pytest.raises(ValueError, match=r"each of the 1 features, came 2; sample\(1\)"):
        FLIPS.invert(torch.zeros(1, 8, 4, 4), params)
    with pytest.raises(ValueError, match=r"features: expected shape \(n, c, h, w\).*came \(2, 4\)"):
        FLIPS.invert(torch.zeros(2, 4), params)
    with pytest.raises(ValueError, match=r'mode: expected "bilinear" or "nearest", came \'cubic\''):
        FLIPS.invert(torch.zeros(2, 8, 4, 4), params, mode="cubic")  # type: ignore[arg-type]
