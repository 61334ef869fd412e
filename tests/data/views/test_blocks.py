"""Work on a few images at a time gives what work on all of them gives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.data.views.cases import generator, noise, seeds
from torch import Tensor

from vilseg_data.views import InvertibleAugmentation, MultiCrop, blocks

AUGMENTATION = InvertibleAugmentation(degrees=20, translate=0.1, scale=(0.5, 1.5), quarter_turn=0.5)
MULTICROP = MultiCrop(
    global_size=20,
    local_size=8,
    num_local=2,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.2,
    jitter=0.5,
    grey=0.5,
    blur=0.5,
    solarise=0.5,
)


@given(seeds, st.integers(0, 7), st.integers(1, 4))
def test_each_image_is_seen_once_beside_its_own_numbers(seed: int, n: int, most: int) -> None:
    images, numbers = noise(n, 2, 3, seed=seed), noise(n, seed=seed + 1)
    sizes = []

    def change(block: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(len(block))
        return block + own[:, None, None], own * 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_BYTES", most * 24)
        moved, doubled = blocks.all_in_blocks(change, images, numbers)
    assert sum(sizes) == n
    assert max(sizes) <= most
    assert torch.equal(moved, images + numbers[:, None, None])
    assert torch.equal(doubled, numbers * 2)


@given(seeds, st.integers(2, 5), st.booleans(), st.sampled_from([None, 0.0, 0.5]))
def test_an_augmentation_image_by_image(
    seed: int, n: int, antialias: bool, fill: float | None
) -> None:
    images = noise(n, 3, 12, 12, seed=seed)
    params = AUGMENTATION.sample(n, generator=generator(seed))

    def there_and_back() -> tuple[Tensor, Tensor, Tensor]:
        changed = AUGMENTATION.apply(images, params, antialias=antialias, fill=fill)
        return changed, *AUGMENTATION.invert(changed, params, fill=fill)

    together = there_and_back()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_BYTES", 1)
        for one, all_of_them in zip(there_and_back(), together, strict=True):
            torch.testing.assert_close(one, all_of_them, rtol=0, atol=1e-6)


@given(seeds, st.integers(2, 5))
def test_looks_image_by_image(seed: int, n: int) -> None:
    images = noise(n, 3, 24, 24, seed=seed)
    together = MULTICROP(images, generator=generator(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_BYTES", 1)
        alone = MULTICROP(images, generator=generator(seed))
    torch.testing.assert_close(alone.global_view, together.global_view, rtol=0, atol=1e-6)
    torch.testing.assert_close(alone.local_views, together.local_views, rtol=0, atol=1e-6)


def test_gradients_reach_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    features = noise(3, 2, 6, 6, seed=0, dtype=torch.float64).requires_grad_()
    params = AUGMENTATION.sample(3, generator=generator(0))

    def gradient() -> Tensor:
        restored, _ = AUGMENTATION.invert(features, params)
        (found,) = torch.autograd.grad(restored.square().sum(), features)
        return found

    expected = gradient()
    monkeypatch.setattr(blocks, "_BYTES", 1)
    torch.testing.assert_close(gradient(), expected)
