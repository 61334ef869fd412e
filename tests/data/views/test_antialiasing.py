"""InvertibleAugmentation with antialias=True: what is too fine to show goes, the rest stays."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.data.views.cases import Wave, noise, seeds

from vilseg_data.views import AugmentationParams, InvertibleAugmentation, geometry

AUGMENTATION = InvertibleAugmentation(gain=0, bias=0)
IDENTITY = geometry.identity(1, dtype=torch.float64, device="cpu")


def zoomed(zoom: float) -> AugmentationParams:
    one = torch.ones(1, dtype=torch.float64)
    return AugmentationParams.from_affine(
        geometry.similarity(degrees=0 * one, zoom=zoom * one, shift=torch.zeros(1, 2).double())
    )


@pytest.mark.parametrize("zoom", [0.2, 0.34, 0.5])
def test_antialiasing_leaves_the_mean_of_what_is_too_fine_to_show(zoom: float) -> None:
    checks = ((torch.arange(64) + torch.arange(64)[:, None]) % 2).double().expand(1, 1, 64, 64)
    params = zoomed(zoom)
    inner = slice(32 - int(20 * zoom), 32 + int(20 * zoom))
    smooth, rough = (
        AUGMENTATION.apply(checks, params, colour=False, antialias=on)[..., inner, inner]
        for on in (True, False)
    )
    assert float((smooth - 0.5).abs().max()) < 0.02
    if zoom != 0.5:  # at one half every look is between four pixels, so both are the mean
        assert float((rough - 0.5).abs().max()) > 0.2


@given(seeds, st.floats(0.3, 0.95))
def test_antialiasing_costs_a_wave_about_the_stated_share(seed: int, zoom: float) -> None:
    wave = Wave(seed, size=(48, 48), steepness=0.3)
    image = wave.at(geometry.grid(IDENTITY, size=(48, 48)))[:, None]
    smooth, plain = (
        AUGMENTATION.apply(image, zoomed(zoom), colour=False, antialias=on) for on in (True, False)
    )
    square = (1 / zoom**2 - 1) / 4  # sigma^2
    share = torch.exp(torch.tensor(-square * 0.3**2 / 2)).double()
    # A Gaussian narrower than a pixel loses up to 0.1 of its variance to being sampled: 0.0045 of
    # the share, at half a unit of height.
    inner = slice(24 - int(10 * zoom), 24 + int(10 * zoom))
    torch.testing.assert_close(
        (smooth - 0.5)[..., inner, inner],
        (plain - 0.5)[..., inner, inner] * share,
        rtol=0,
        atol=2.5e-3,
    )


@given(seeds, st.integers(3, 12), st.integers(3, 12), st.floats(1, 3), st.floats(-180, 180))
def test_antialiasing_changes_nothing_that_does_not_shrink(
    seed: int, h: int, w: int, zoom: float, degrees: float
) -> None:
    images, one = noise(1, 3, h, w, seed=seed), torch.ones(1)
    turn = geometry.similarity(
        degrees=degrees * one, zoom=zoom * one, shift=torch.zeros(1, 2), aspect=w / h
    )
    params = AugmentationParams.from_affine(turn)
    smooth = AUGMENTATION.apply(images, params, antialias=True)
    assert torch.equal(smooth, AUGMENTATION.apply(images, params))
