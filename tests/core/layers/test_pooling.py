"""The laws every pooling keeps, and those of each."""

import math
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vilseg_core.layers import AttentionPooling, LogSumExpPooling, Pooling, build_pooling
from vilseg_core.layers.pooling import PoolingKind

KINDS = get_args(PoolingKind)
every_kind = pytest.mark.parametrize("kind", KINDS)


def pooling_of(kind: Any, *, dim: int = 3) -> Pooling:
    pooling = build_pooling(kind, dim=dim, sharpness=2.0).double()
    if isinstance(pooling, AttentionPooling):
        with torch.no_grad():
            pooling.query.copy_(torch.linspace(-2, 2, dim))
    return pooling


def features(seed: int = 0, b: int = 2, d: int = 3, h: int = 3, w: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(b, d, h, w, dtype=torch.float64, generator=generator)


def regions(seed: int = 0, r: int = 3, h: int = 3, w: int = 4) -> Tensor:
    """A partition of each of two images into `r` regions: (2, r, h, w) bool."""
    owners = torch.randint(r, (2, h, w), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(owners, r).permute(0, 3, 1, 2).bool()


@every_kind
@pytest.mark.parametrize("dtype", [torch.bool, torch.float64])
def test_a_full_mask_is_no_mask(kind: str, dtype: torch.dtype) -> None:
    pooling, pixels = pooling_of(kind), features()
    full = torch.ones(2, 1, 3, 4, dtype=dtype)
    torch.testing.assert_close(pooling(pixels, full).squeeze(1), pooling(pixels))


@every_kind
@given(seed=st.integers(0, 1000))
def test_a_region_is_pooled_by_itself(kind: str, seed: int) -> None:
    pooling, pixels, masks = pooling_of(kind), features(seed), regions(seed)
    pooled = pooling(pixels, masks)
    assert pooled.shape == (2, 3, 3)
    for image in range(2):
        for region in range(3):
            inside = pixels[image][:, masks[image, region]]
            if inside.shape[1] == 0:
                assert torch.equal(pooled[image, region], torch.zeros(3, dtype=torch.float64))
                continue
            alone = pooling(inside.reshape(1, 3, 1, -1)).squeeze(0)
            torch.testing.assert_close(pooled[image, region], alone)


@every_kind
@given(seed=st.integers(0, 1000))
def test_the_order_of_pixels_does_not_matter(kind: str, seed: int) -> None:
    pooling, pixels, masks = pooling_of(kind), features(seed), regions(seed)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    moved = pixels.flatten(2)[..., order].reshape(pixels.shape)
    moved_masks = masks.flatten(2)[..., order].reshape(masks.shape)
    torch.testing.assert_close(pooling(moved), pooling(pixels))
    torch.testing.assert_close(pooling(moved, moved_masks), pooling(pixels, masks))


@every_kind
def test_gradients(kind: str) -> None:
    pooling, pixels = pooling_of(kind), features().requires_grad_()
    masks = regions().double()
    masks[:, 1] = 0.0
    assert torch.autograd.gradcheck(pooling, (pixels,))
    assert torch.autograd.gradcheck(lambda x: pooling(x, masks), (pixels,))


@pytest.mark.parametrize("kind", ["mean", "lse", "attention"])
def test_gradients_of_weights(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 3, 3, 4, dtype=torch.float64, generator=generator) + 0.1
    pooling, pixels = pooling_of(kind), features()
    assert torch.autograd.gradcheck(lambda x: pooling(pixels, x), (masks.requires_grad_(),))


@every_kind
def test_empty_regions_are_zero_with_finite_gradients(kind: str) -> None:
    pixels = features().requires_grad_()
    masks = torch.zeros(2, 2, 3, 4)
    masks[0, 0, 0, 0] = 1.0
    pooled = pooling_of(kind)(pixels, masks)
    assert torch.equal(pooled[1], torch.zeros(2, 3, dtype=torch.float64))
    torch.testing.assert_close(pooled[0, 0], pixels[0, :, 0, 0])
    (gradient,) = torch.autograd.grad(pooled.sum(), pixels)
    assert gradient.isfinite().all()
    assert torch.equal(gradient[1], torch.zeros_like(gradient[1]))


@every_kind
def test_no_regions_and_no_images(kind: str) -> None:
    pooling = pooling_of(kind)
    assert pooling(features(), torch.ones(2, 0, 3, 4)).shape == (2, 0, 3)
    assert pooling(features()[:0]).shape == (0, 3)
    assert pooling(features()[:0], torch.ones(0, 2, 3, 4)).shape == (0, 2, 3)


@given(seed=st.integers(0, 1000), size=st.floats(0.01, 100))
@pytest.mark.parametrize("kind", ["mean", "lse", "attention"])
def test_weights_count_by_their_ratio(kind: str, seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(2, 2, 3, 4, dtype=torch.float64, generator=generator)
    pooling, pixels = pooling_of(kind), features(seed)
    torch.testing.assert_close(pooling(pixels, size * weights), pooling(pixels, weights))


def test_a_weight_of_two_is_two_pixels() -> None:
    pixels = features(b=1, h=1, w=3)
    doubled = torch.cat([pixels, pixels[..., 2:]], dim=3)
    weights = torch.tensor([1.0, 1.0, 2.0]).reshape(1, 1, 1, 3)
    for kind in ("mean", "lse", "attention"):
        pooling = pooling_of(kind)
        torch.testing.assert_close(pooling(pixels, weights).squeeze(1), pooling(doubled))


@given(seed=st.integers(0, 1000), sharpness=st.floats(0.01, 50))
def test_log_sum_exp_is_between_mean_and_maximum(seed: int, sharpness: float) -> None:
    pixels, slack = features(seed), 1e-12
    pooled = LogSumExpPooling(sharpness)(pixels)
    assert (pooled >= pixels.mean((2, 3)) - slack).all()
    assert (pooled <= pixels.amax((2, 3)) + slack).all()
    truth = (sharpness * pixels).exp().mean((2, 3)).log() / sharpness
    torch.testing.assert_close(pooled, truth)


def test_log_sum_exp_reaches_its_limits_without_overflow() -> None:
    pixels = features()
    torch.testing.assert_close(
        LogSumExpPooling(1e-6)(pixels), pixels.mean((2, 3)), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        LogSumExpPooling(1e5)(pixels), pixels.amax((2, 3)), atol=1e-4, rtol=0
    )
    far = torch.tensor([1e4, -1e4]).reshape(1, 1, 1, 2)
    masks = torch.tensor([[True, False], [False, True]]).reshape(1, 2, 1, 2)
    torch.testing.assert_close(LogSumExpPooling()(far, masks), far.reshape(1, 2, 1))


def test_attention_starts_as_the_mean_and_follows_its_query() -> None:
    pixels = features()
    torch.testing.assert_close(AttentionPooling(3).double()(pixels), pixels.mean((2, 3)))
    pooling = pooling_of("attention")
    assert isinstance(pooling, AttentionPooling)
    rows = pixels.flatten(2)
    shares = (torch.einsum("d,bdx->bx", pooling.query, rows) / math.sqrt(3)).softmax(-1)
    torch.testing.assert_close(pooling(pixels), torch.einsum("bdx,bx->bd", rows, shares))


@every_kind
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_pooled_in_float32(kind: str, dtype: torch.dtype) -> None:
    pooling, pixels = pooling_of(kind).float(), features().to(dtype)
    masks = regions()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole, parts = pooling(pixels), pooling(pixels, masks)
    assert whole.dtype == parts.dtype == dtype
    torch.testing.assert_close(whole, pooling(pixels.float()).to(dtype))
    torch.testing.assert_close(parts, pooling(pixels.float(), masks).to(dtype))


def test_refusals() -> None:
    pooling, pixels = pooling_of("mean"), features()
    with pytest.raises(ValueError, match=r"pixels: expected shape \(b, d, h, w\) .* \(2, 3\)"):
        pooling(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"pixels: .* at least one pixel"):
        pooling(torch.ones(2, 3, 0, 4))
    with pytest.raises(ValueError, match=r"pixels: .* came torch.int64; convert it"):
        pooling(torch.ones(2, 3, 4, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"pixels: expected 4 features a pixel, came 3; build"):
        AttentionPooling(4)(pixels)
    with pytest.raises(
        ValueError, match=r"masks: expected shape \(2, r, 3, 4\) .* resize the masks"
    ):
        pooling(pixels, torch.ones(2, 1, 6, 8))
    with pytest.raises(ValueError, match=r"masks: .* came \(2, 3, 4\)"):
        pooling(pixels, torch.ones(2, 3, 4))
    with pytest.raises(ValueError, match=r"sharpness: .* came 0.0; 6.0 is usual"):
        LogSumExpPooling(0.0)
    with pytest.raises(ValueError, match="dim: expected at least 1, came 0"):
        AttentionPooling(0)
    with pytest.raises(ValueError, match=r"kind: expected one of 'mean', .* came 'median'"):
        pooling_of("median")
    assert repr(LogSumExpPooling(6.0)) == "LogSumExpPooling(sharpness=6)"
    assert repr(AttentionPooling(5)) == "AttentionPooling(dim=5)"
