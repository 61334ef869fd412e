"""What MultiCrop does to the looks of views: each option alone, by kind of view, by chance."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.data.views.cases import dtypes, generator, noise, seeds
from torch import Tensor

from vilseg_data.views import MultiCrop, Views, ViewsConfig
from vilseg_data.views.colour import grey, solarise, turn_hue
from vilseg_data.views.filters import blur

SECOND = ("hue", "jitter", "grey", "blur", "solarise")


def cut(images: Tensor, *, seed: int, **options: Any) -> Views:
    multicrop = MultiCrop(global_size=8, local_size=8, num_local=2, **options)
    return multicrop(images, generator=generator(seed))


def all_views(views: Views) -> Tensor:
    return torch.cat([views.global_view[None], views.local_views])


@given(seeds, st.integers(0, 3), st.permutations(SECOND), dtypes)
def test_places_do_not_change_with_looks(
    seed: int, n: int, names: list[str], dtype: torch.dtype
) -> None:
    images = noise(n, 3, 12, 9, seed=seed, dtype=dtype)
    plain = cut(images, seed=seed, brightness=0.4)
    looks = dict.fromkeys(names[:3], 0.5)
    changed = cut(images, seed=seed, brightness=0.4, **looks)
    for name in ("global_boxes", "local_boxes", "global_flips", "local_flips"):
        assert torch.equal(getattr(plain, name), getattr(changed, name)), name
    assert changed.local_views.dtype == dtype
    again = cut(images, seed=seed, brightness=0.4, **looks)
    assert torch.equal(all_views(again), all_views(changed))


def test_the_numbers_of_a_seed_stay() -> None:
    # A run that is resumed goes on with the views it would have had, so these were written down.
    config, numbers = (
        ViewsConfig(local_size=8, num_local=1, brightness=0.3, degrees=10),
        generator(7),
    )
    views = config.multicrop(image_size=16)(torch.full((1, 3, 20, 30), 0.5), generator=numbers)
    params = config.augmentation().sample(1, generator=numbers)
    assert params.affine is not None
    for found, expected in (
        (views.global_boxes[0], [8.556760, 0.578183, 28.631195, 19.697731]),
        (views.local_boxes[0, 0], [0.954065, 0.414341, 15.815258, 13.215406]),
        (views.global_view[0, :, 0, 0], [0.601864] * 3),
        (views.local_views[0, 0, :, 0, 0], [0.361290] * 3),
        (params.gain[0], [0.707923, 1.269917, 0.765962]),
        (params.bias[0], [0.098723, 0.084838, 0.073041]),
        (params.affine[0, 0], [0.997740, -0.067197, 0]),
    ):
        torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=2e-5)
    assert (bool(views.global_flips), bool(views.local_flips)) == (False, True)
    assert not params.flip.any()
    assert params.turns is None


@given(seeds)
def test_certain_looks_are_those_functions_of_the_plain_views(seed: int) -> None:
    images = noise(2, 3, 12, 9, seed=seed)
    plain = all_views(cut(images, seed=seed)).flatten(0, 1)
    for options, expected in (
        ({"grey": 1.0}, grey(plain).expand_as(plain)),
        ({"solarise": 1.0, "solarise_threshold": 0.3}, solarise(plain, threshold=0.3)),
        (
            {"blur": 1.0, "blur_sigma": (1.5, 1.5)},
            blur(plain, sigma=torch.full((len(plain),), 1.5)),
        ),
        (
            {"grey": 1.0, "solarise": 1.0},
            solarise(grey(plain).expand_as(plain), threshold=0.5),
        ),
    ):
        found = all_views(cut(images, seed=seed, **options)).flatten(0, 1)
        torch.testing.assert_close(found, expected)


@given(seeds)
def test_each_view_has_its_own_hue(seed: int) -> None:
    images = torch.tensor([0.8, 0.2, 0.2]).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    views = all_views(cut(images, seed=seed, hue=0.1)).flatten(0, 1)
    pixels = views[:, :, 4, 4].double()
    # Red turned by at most a tenth: sin and cos of the hue from the opponent axes of RGB.
    angle = torch.atan2(
        math.sqrt(3) * (pixels[:, 1] - pixels[:, 2]),
        2 * pixels[:, 0] - pixels[:, 1] - pixels[:, 2],
    )
    assert float(angle.abs().max()) <= 2 * math.pi * 0.1 + 0.02
    assert len(set(angle.tolist())) == 6
    turned = turn_hue(images[:1], turn=torch.tensor([0.1]))[0, :, 4, 4]
    assert float((pixels.amax(1) - turned.max()).abs().max()) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flip", "jitter", "grey", "blur", "solarise"])
def test_chances_are_of_a_kind_of_view(name: str) -> None:
    images = noise(1, 3, 6, 6, seed=0).expand(600, 3, 6, 6)
    shared: dict[str, Any] = {
        "global_size": 6,
        "local_size": 6,
        "num_local": 1,
        "global_scale": (1, 1),
        "local_scale": (1, 1),
        "flip": 0.0,
        "brightness": 0.5 if name == "jitter" else 0.0,
        "blur_sigma": (0.5, 2.0),
    }

    def changed(chance: object) -> tuple[float, float]:
        multicrop = MultiCrop(**(shared | {name: chance}))
        views = multicrop(images, generator=generator(1))
        parts = views.global_view, views.local_views[0]
        shares = [(p - images).abs().amax((1, 2, 3)).gt(1e-3).float().mean() for p in parts]
        return float(shares[0]), float(shares[1])

    assert changed(0.0) == (0, 0)
    assert min(changed(1.0)) > 0.95  # a factor near 1 changes less than is counted
    assert changed((1.0, 0.0))[0] > 0.95
    assert changed((1.0, 0.0))[1] == 0
    assert changed((0.0, 1.0))[0] == 0
    for share in changed(0.3):
        assert 0.22 < share < 0.38


def test_chances_are_independent_of_one_another() -> None:
    images = noise(1, 3, 6, 6, seed=0).expand(2000, 3, 6, 6)
    changed = []
    shared: dict[str, Any] = {"global_size": 6, "local_size": 1, "num_local": 0, "flip": 0.0}
    for options in (
        {"flip": 0.5},
        {"jitter": 0.5, "hue": 0.4},
        {"grey": 0.5},
        {"blur": 0.5},
        {"solarise": 0.5},
    ):
        multicrop = MultiCrop(**(shared | options), global_scale=(1, 1), blur_sigma=(1, 2))
        views = multicrop(images, generator=generator(1)).global_view
        changed.append((views - images).abs().amax((1, 2, 3)) > 1e-3)
    for i, one in enumerate(changed):
        for other in changed[:i]:
            assert 0.45 < float((one == other).float().mean()) < 0.55


def test_the_settings_of_dino_run() -> None:
    multicrop = MultiCrop(
        global_size=32,
        local_size=16,
        num_local=8,
        global_scale=(0.4, 1.0),
        local_scale=(0.05, 0.4),
        brightness=0.4,
        contrast=0.4,
        saturation=0.2,
        hue=0.1,
        jitter=0.8,
        grey=0.2,
        blur=(1.0, 0.5),
        solarise=(0.2, 0.0),
    )
    views = multicrop(noise(4, 3, 40, 48, seed=0), generator=generator(0))
    assert views.local_views.shape == (8, 4, 3, 16, 16)
    for part in (views.global_view, views.local_views):
        assert 0 <= float(part.min()) <= float(part.max()) <= 1
        assert part.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grey": 1.5}, "grey: expected a number from 0 to 1, came 1.5"),
        ({"blur": (0.5, 2.0)}, "blur of local views: expected a number from 0 to 1, came 2"),
        ({"solarise": (0.5,)}, r"solarise: expected one probability, or two as \(global, local\)"),
        ({"hue": 0.7}, "hue: expected a number from 0 to 0.5, came 0.7"),
        ({"blur_sigma": (0.0, 2.0)}, r"blur_sigma: expected \(low, high\) with 0 < low"),
        ({"solarise_threshold": -1.0}, "solarise_threshold: expected a number from 0 to 1"),
        ({"jitter": (-0.1, 0.2)}, "jitter of global views: expected a number"),
    ],
)
def test_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiCrop(**({"global_size": 8, "local_size": 4} | options))  # type: ignore[arg-type]
