"""AugmentationParams: data that is indexed, moved and composed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.data.views.cases import generator, noise, seeds

from vilseg_data.views import AugmentationParams, InvertibleAugmentation

MIXED = InvertibleAugmentation(degrees=30, translate=0.1, scale=(0.8, 1.2))
FLIPS = InvertibleAugmentation()


def assert_same(first: AugmentationParams, second: AugmentationParams) -> None:
    for name, value in vars(first).items():
        torch.testing.assert_close(getattr(second, name), value, rtol=0, atol=1e-5)


@given(seeds, st.integers(1, 6), st.data())
def test_indexing_is_applying_to_some_images(seed: int, n: int, data: st.DataObject) -> None:
    images = noise(n, 3, 5, 6, seed=seed)
    params = MIXED.sample(n, generator=generator(seed))
    index = torch.tensor(data.draw(st.lists(st.integers(0, n - 1), max_size=4)), dtype=torch.int64)
    changed = MIXED.apply(images, params)
    torch.testing.assert_close(MIXED.apply(images[index], params[index]), changed[index])
    assert len(params[index]) == len(index)
    half = slice(n // 2, None)
    torch.testing.assert_close(MIXED.apply(images[half], params[half]), changed[half])


@given(seeds, st.integers(1, 3), st.lists(st.booleans(), min_size=3, max_size=3))
def test_composing_is_associative(seed: int, n: int, plain: list[bool]) -> None:
    a, b, c = (
        (FLIPS if flat else MIXED).sample(n, generator=generator(seed + i))
        for i, flat in enumerate(plain)
    )
    assert_same(a.compose(b).compose(c), a.compose(b.compose(c)))


@given(seeds, st.integers(1, 3))
def test_flips_undo_themselves(seed: int, n: int) -> None:
    params = InvertibleAugmentation(gain=0, bias=0).sample(n, generator=generator(seed))
    twice = params.compose(params)
    assert not twice.flip.any()
    assert twice.affine is None
    assert torch.equal(twice.gain, torch.ones(n, 3))
    assert not twice.bias.any()


def test_moving_keeps_everything() -> None:
    for augmentation in (MIXED, FLIPS):
        params = augmentation.sample(2, generator=generator(0))
        assert_same(params.to("cpu"), params)


def test_from_affine_changes_no_colour_and_refuses_what_flattens() -> None:
    images = noise(2, 3, 4, 4, seed=0)
    params = AugmentationParams.from_affine(torch.eye(2, 3).expand(2, 2, 3))
    torch.testing.assert_close(MIXED.apply(images, params), images)
    flat = torch.tensor([[[1.0, 0, 0], [2, 0, 0]]])
    with pytest.raises(ValueError, match="affine: expected maps with an inverse"):
        AugmentationParams.from_affine(flat)
    with pytest.raises(ValueError, match=r"affine: expected shape \(n, 2, 3\), came \(3, 3\)"):
        AugmentationParams.from_affine(torch.eye(3))


def test_shapes_are_checked() -> None:
    gain, bias, flip = torch.ones(2, 3), torch.zeros(2, 3), torch.zeros(2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"gain: expected shape \(2, 3\), came \(1, 3\)"):
        AugmentationParams(gain=gain[:1], bias=bias, flip=flip)
    with pytest.raises(ValueError, match=r"affine: expected shape \(2, 2, 3\), came \(2, 3\)"):
        AugmentationParams(gain=gain, bias=bias, flip=flip, affine=gain)
    with pytest.raises(
        ValueError, match=r"flip: expected torch\.bool, came torch\.int64; use flip"
    ):
        AugmentationParams(gain=gain, bias=bias, flip=flip.long())
