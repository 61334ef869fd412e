"""The laws of inversion over sizes, strides, dtypes and compositions."""

from functools import reduce

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.views.cases import Elsewhere, Wave, coordinates, generator, noise, seeds, sides
from torch import Tensor

from vilseg_data.views import AugmentationParams, InvertibleAugmentation, geometry, symmetry

EXACT = InvertibleAugmentation(gain=0, bias=0, quarter_turn=0.75)
COLOUR = InvertibleAugmentation(quarter_turn=0.75)
MIXED = InvertibleAugmentation(
    gain=0, bias=0, degrees=40, translate=0.15, scale=(0.75, 1.4), quarter_turn=0.5
)
IDENTITY = geometry.identity(1, dtype=torch.float64, device="cpu")
kinds = st.lists(st.sampled_from([EXACT, COLOUR, MIXED]), min_size=1, max_size=3)
all_dtypes = st.sampled_from(
    [torch.float32, torch.float64, torch.bfloat16, torch.uint8, torch.int64]
)
thorough = settings(max_examples=200)


def composed(chain: list[InvertibleAugmentation], n: int, *, seed: int) -> AugmentationParams:
    parts = [g.sample(n, generator=generator(seed + i)) for i, g in enumerate(chain)]
    return reduce(AugmentationParams.compose, parts)


def whole_map(params: AugmentationParams) -> Tensor:
    """All of the geometry as one map, float64."""
    square = symmetry.as_maps(params.gain.double(), flip=params.flip, turns=params.turns)
    return square if params.affine is None else geometry.compose(square, params.affine.double())


def assert_same(first: AugmentationParams, second: AugmentationParams, *, atol: float) -> None:
    torch.testing.assert_close(first.gain, second.gain, rtol=0, atol=atol)
    torch.testing.assert_close(first.bias, second.bias, rtol=0, atol=atol)
    torch.testing.assert_close(whole_map(first), whole_map(second), rtol=0, atol=atol)


@thorough
@given(seeds, st.integers(0, 3), sides, all_dtypes, st.integers(1, 3))
def test_exact_changes_of_pixels_are_undone_bit_for_bit(
    seed: int, n: int, side: int, dtype: torch.dtype, length: int
) -> None:
    images = (noise(n, 3, side, side, seed=seed) * 200).to(dtype)
    params = composed([EXACT] * length, n, seed=seed)
    mode: geometry.Mode = "bilinear" if dtype.is_floating_point else "nearest"
    changed = EXACT.apply(images, params, mode=mode, colour=False)
    restored, valid = EXACT.invert(changed, params, mode=mode, image_size=(side, side))
    assert torch.equal(restored, images)
    assert restored.dtype == changed.dtype == dtype
    assert valid.shape == (n, 1, side, side)
    assert valid.all()


@thorough
@given(
    seeds,
    st.integers(1, 3),
    st.integers(1, 5),
    st.sampled_from([1, 2, 3, 4, 8]),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    st.integers(1, 3),
)
def test_exact_changes_are_undone_on_features_of_any_stride(
    seed: int, n: int, cells: int, stride: int, dtype: torch.dtype, length: int
) -> None:
    images = noise(n, 3, cells * stride, cells * stride, seed=seed, dtype=dtype)
    params = composed([EXACT] * length, n, seed=seed)

    def encode(x: Tensor) -> Tensor:  # knows no direction, like the law it is to test
        return F.max_pool2d(x.float(), stride).to(dtype).repeat(1, 2, 1, 1)

    features = encode(EXACT.apply(images, params))
    restored, valid = EXACT.invert(features, params, image_size=images.shape)
    assert torch.equal(restored, encode(images))
    assert valid.all()


@thorough
@given(seeds, st.integers(16, 28), kinds, st.sampled_from([torch.float32, torch.float64]))
def test_interpolated_pixels_are_undone_within_the_stated_bound(
    seed: int, side: int, chain: list[InvertibleAugmentation], dtype: torch.dtype
) -> None:
    wave = Wave(seed, size=(side, side), steepness=0.5)
    image = wave.at(geometry.grid(IDENTITY, size=(side, side)))[:, None].to(dtype)
    params = composed(chain, 1, seed=seed)
    changed = MIXED.apply(image, params, colour=False)
    restored, valid = MIXED.invert(changed, params)
    interpolated = params.affine is not None
    bound = (wave.curvature() + wave.curvature(whole_map(params))) / 8 * interpolated
    # The mask lets a share of 1e-3 in from outside, at two places of interpolation.
    error = (restored - image).abs()[valid]
    assert float(error.sum() if error.numel() == 0 else error.max()) <= bound + 2e-3 * interpolated


@thorough
@given(seeds, st.integers(6, 14), kinds, st.sampled_from([1, 4]))
def test_interpolated_features_are_undone_within_the_stated_bound(
    seed: int, cells: int, chain: list[InvertibleAugmentation], channels: int
) -> None:
    # Features of the changed image, as an encoder that sees places well would give them.
    waves = [Wave(seed + i, size=(cells, cells), steepness=0.4) for i in range(channels)]
    params = composed(chain, 1, seed=seed)
    size, seen = (cells, cells), whole_map(params)
    features = torch.stack([w.at(geometry.grid(seen, size=size)) for w in waves], 1)
    truth = torch.stack([w.at(geometry.grid(IDENTITY, size=size)) for w in waves], 1)
    restored, valid = MIXED.invert(features, params)
    bound = max(wave.curvature(seen) for wave in waves) / 8 * (params.affine is not None)
    error = ((restored - truth).abs() * valid).max()
    assert float(error) <= bound + 1e-3


@thorough
@given(seeds, st.integers(2, 6), st.sampled_from([1, 2, 4]), st.data())
def test_shifts_by_whole_cells_are_exact_where_valid(
    seed: int, cells: int, stride: int, data: st.DataObject
) -> None:
    across, down = (data.draw(st.integers(-cells + 1, cells - 1)) for _ in range(2))
    side = cells * stride
    shift = torch.tensor([[across, down]], dtype=torch.float64) / cells
    one = torch.ones(1, dtype=torch.float64)
    params = AugmentationParams.from_affine(
        geometry.similarity(degrees=0 * one, zoom=one, shift=shift)
    )
    images = noise(1, 3, side, side, seed=seed, dtype=torch.float64)
    changed = MIXED.apply(images, params, fill=0.0)
    for values, truth in (
        (changed, images),
        (F.avg_pool2d(changed, stride), F.avg_pool2d(images, stride)),
    ):
        restored, valid = MIXED.invert(values, params)
        assert float(((restored - truth).abs() * valid).max()) <= 1e-6
        kept = (cells - abs(across)) * (cells - abs(down))
        assert int(valid.sum()) == kept * (values.shape[-1] // cells) ** 2


@thorough
@given(seeds, st.integers(1, 3), kinds)
def test_parameters_form_a_group(seed: int, n: int, chain: list[InvertibleAugmentation]) -> None:
    params, nothing = composed(chain, n, seed=seed), AugmentationParams.identity(n)
    other = composed(chain[::-1], n, seed=seed + 10)
    assert_same(nothing.compose(params), params, atol=1e-6)
    assert_same(params.compose(nothing), params, atol=1e-6)
    assert_same(params.compose(params.inverse()), nothing, atol=1e-4)
    assert_same(params.inverse().compose(params), nothing, atol=1e-4)
    assert_same(
        params.compose(other).inverse(), other.inverse().compose(params.inverse()), atol=1e-3
    )
    for name in ("flip", "turns"):
        back = getattr(params.compose(params.inverse()), name)
        assert back is None or not back.any()


@given(seeds, st.integers(1, 3), st.integers(8, 16), kinds)
def test_composing_is_applying_one_after_the_other(
    seed: int, n: int, side: int, chain: list[InvertibleAugmentation]
) -> None:
    places, parts = coordinates(n, size=(side, side)), []
    step = places
    for i, augmentation in enumerate(chain):
        parts.append(augmentation.sample(n, generator=generator(seed + i)))
        step = augmentation.apply(step, parts[-1], colour=False, fill=0.0)
    at_once = MIXED.apply(places, reduce(AugmentationParams.compose, parts), colour=False, fill=0.0)
    whole = (step[:, 2:] > 1 - 1e-6) & (at_once[:, 2:] > 1 - 1e-6)
    assert float(((at_once - step).abs() * whole).max()) < 1e-3


@given(seeds, st.integers(0, 3), st.integers(2, 12))
def test_the_inverse_parameters_undo_colour_too(seed: int, n: int, side: int) -> None:
    images = noise(n, 3, side, side, seed=seed, dtype=torch.float64)
    params = COLOUR.sample(n, generator=generator(seed))
    restored = COLOUR.apply(COLOUR.apply(images, params), params.inverse())
    torch.testing.assert_close(restored, images, rtol=0, atol=1e-6)


@given(seeds, st.integers(8, 20), st.sampled_from([torch.uint8, torch.int64]))
def test_label_maps_come_back_to_within_a_pixel(seed: int, side: int, dtype: torch.dtype) -> None:
    labels = torch.arange(side * side).view(1, 1, side, side) % 250
    params = MIXED.sample(1, generator=generator(seed))
    moved = MIXED.apply(labels.to(dtype), params, mode="nearest", colour=False, fill=255)
    restored, valid = MIXED.invert(moved, params, mode="nearest", fill=255)
    assert restored.dtype == dtype
    # Each nearest pixel is up to half a pixel away on each axis, the first as seen through a turn
    # and a zoom of at least 0.75 at sqrt(2) / 2 / 0.75, so together less than two pixels.
    window = F.unfold(F.pad(labels.double(), (2,) * 4, value=-1), 5).view(25, side, side)
    near = (window == restored[0].double()).any(0)
    outside = restored[0, 0] == 255
    assert (near | outside).all()
    assert near[valid[0, 0]].all()


@given(seeds, st.integers(8, 16))
def test_bfloat16_is_interpolated_in_float32(seed: int, side: int) -> None:
    images = noise(2, 3, side, side, seed=seed, dtype=torch.bfloat16)
    params = MIXED.sample(2, generator=generator(seed))
    changed = MIXED.apply(images, params)
    assert torch.equal(changed, MIXED.apply(images.float(), params).bfloat16())
    restored, _ = MIXED.invert(changed, params)
    assert torch.equal(restored, MIXED.invert(changed.float(), params)[0].bfloat16())


@given(seeds, st.integers(0, 20))
def test_quarter_turns_come_from_the_generator_after_everything_else(seed: int, n: int) -> None:
    first, second = (MIXED.sample(n, generator=generator(seed)) for _ in range(2))
    assert first.turns is not None
    assert second.turns is not None
    assert torch.equal(first.turns, second.turns)
    plain = InvertibleAugmentation(gain=0, bias=0, degrees=40, translate=0.15, scale=(0.75, 1.4))
    without = plain.sample(n, generator=generator(seed))
    assert torch.equal(first.flip, without.flip)
    assert first.affine is not None
    assert without.affine is not None
    assert torch.equal(first.affine, without.affine)


def test_quarter_turns_are_as_likely_as_stated() -> None:
    turns = MIXED.sample(8000, generator=generator(0)).turns
    assert turns is not None
    shares = torch.bincount(turns, minlength=4) / 8000
    expected = torch.tensor([0.5, 0.5 / 3, 0.5 / 3, 0.5 / 3])
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.02)


def test_empty_batches_stay_empty() -> None:
    for augmentation in (EXACT, MIXED):
        params = augmentation.sample(0)
        changed = augmentation.apply(torch.zeros(0, 3, 4, 4), params, antialias=True)
        restored, valid = augmentation.invert(changed, params)
        assert changed.shape == restored.shape == (0, 3, 4, 4)
        assert valid.shape == (0, 1, 4, 4)


def test_what_does_not_fit_is_refused() -> None:
    params = EXACT.sample(2, generator=generator(0))
    with pytest.raises(
        ValueError,
        match=r"features: expected a grid that divides images of 30 x 32, came 4 x 4; its stride",
    ):
        EXACT.invert(torch.zeros(2, 5, 4, 4), params, image_size=(30, 32))
    with pytest.raises(
        ValueError, match='antialias: expected mode="bilinear", came mode="nearest"'
    ):
        EXACT.apply(torch.zeros(2, 3, 4, 4), params, mode="nearest", antialias=True)
    with pytest.raises(
        ValueError, match=r"came \(2, 4, 4\); add .* channels with images\[:, None\]"
    ):
        EXACT.apply(torch.zeros(2, 4, 4), params, mode="nearest", colour=False)
    with pytest.raises(ValueError, match="n: expected at least 0, came -1"):
        EXACT.sample(-1)
    with pytest.raises(ValueError, match=r"generator: expected a torch\.Generator, came int; make"):
        EXACT.sample(1, generator=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"generator: expected one on the CPU or on cpu.* cuda:1"):
        EXACT.sample(1, generator=Elsewhere(), device="cpu")
    with pytest.raises(
        ValueError, match=r"turns: expected torch\.int64 in 0\.\.3, came torch\.int3"
    ):
        AugmentationParams(
            gain=torch.ones(1, 3),
            bias=torch.zeros(1, 3),
            flip=torch.zeros(1, dtype=torch.bool),
            turns=torch.zeros(1, dtype=torch.int32),
        )
    with pytest.raises(ValueError, match="quarter_turn: expected a number from 0 to 1, came 2"):
        InvertibleAugmentation(quarter_turn=2)
    turned = AugmentationParams.from_turns(torch.tensor([-1, 6]))
    assert turned.turns is not None
    assert turned.turns.tolist() == [3, 2]
    with pytest.raises(ValueError, match=r"turns: expected half turns of images of 4 x 6"):
        EXACT.apply(torch.zeros(2, 3, 4, 6), turned)
