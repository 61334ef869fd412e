"""InfoNCE: the formula, its closed forms, its symmetries, its precision."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.core import oracles
from torch import Tensor

from vilseg_core.functional import symmetric_info_nce
from vilseg_core.functional.info_nce import Direction
from vilseg_core.ops import Implementation

DIRECTIONS: list[Direction] = ["both", "image_to_text", "text_to_image"]
IMPLEMENTATIONS: list[Implementation] = ["reference", "chunked"]


def pairs(seed: int, n: int = 5, d: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image, text = torch.randn(2, n, d, dtype=torch.float64, generator=generator)
    return image, text


@given(
    seed=st.integers(0, 1000),
    n=st.integers(1, 7),
    d=st.integers(1, 5),
    scale=st.floats(0, 30),
    impl=st.sampled_from(IMPLEMENTATIONS),
)
def test_equals_the_loop(seed: int, n: int, d: int, scale: float, impl: Implementation) -> None:
    image, text = pairs(seed, n, d)
    forth = oracles.info_nce(image, text, scale=scale)
    back = oracles.info_nce(text, image, scale=scale)
    for direction, truth in zip(DIRECTIONS, [(forth + back) / 2, forth, back], strict=True):
        loss = symmetric_info_nce(image, text, logit_scale=scale, direction=direction, impl=impl)
        assert loss.item() == pytest.approx(truth, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_gradients(direction: Direction, n: int, impl: Implementation) -> None:
    image, text = (x.requires_grad_() for x in pairs(0, n))
    scale = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)

    def loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        return symmetric_info_nce(image, text, logit_scale=scale, direction=direction, impl=impl)

    assert torch.autograd.gradcheck(loss, (image, text, scale))
    if impl == "reference":
        assert torch.autograd.gradgradcheck(loss, (image, text, scale))


@pytest.mark.parametrize("n", [1, 2, 9])
def test_equal_features_give_log_n(n: int) -> None:
    same = torch.ones(n, 3, dtype=torch.float64)
    loss = symmetric_info_nce(same, same, logit_scale=14.0)
    assert loss.item() == pytest.approx(math.log(n), abs=1e-12)


@pytest.mark.parametrize("scale", [0.5, 5.0, 100.0])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_orthonormal_aligned_pairs(scale: float, impl: Implementation) -> None:
    basis = torch.eye(6, dtype=torch.float64)
    truth = math.log1p(5 * math.exp(-scale))
    loss = symmetric_info_nce(3 * basis, basis / 2, logit_scale=scale, impl=impl)
    assert loss.item() == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_wrong_pairs_at_a_high_scale(impl: Implementation) -> None:
    basis = torch.eye(2)
    loss = symmetric_info_nce(basis, basis.flip(0), logit_scale=1e4, impl=impl)
    assert loss.item() == pytest.approx(1e4)


@given(seed=st.integers(0, 1000), n=st.integers(1, 8))
def test_permuting_the_batch_changes_nothing(seed: int, n: int) -> None:
    image, text = pairs(seed, n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    loss = symmetric_info_nce(image, text, logit_scale=9.0)
    permuted = symmetric_info_nce(image[order], text[order], logit_scale=9.0)
    torch.testing.assert_close(permuted, loss)


@given(seed=st.integers(0, 1000), n=st.integers(0, 6), size=st.floats(1e-3, 1e3))
def test_towers_and_norms(seed: int, n: int, size: float) -> None:
    image, text = pairs(seed, n)
    both = symmetric_info_nce(image, text, logit_scale=9.0)
    torch.testing.assert_close(symmetric_info_nce(text, image, logit_scale=9.0), both)
    torch.testing.assert_close(symmetric_info_nce(size * image, text, logit_scale=9.0), both)
    forth = symmetric_info_nce(image, text, logit_scale=9.0, direction="image_to_text")
    back = symmetric_info_nce(text, image, logit_scale=9.0, direction="text_to_image")
    torch.testing.assert_close(back, forth)


@pytest.mark.parametrize("scale", [14.3, 50.0, 100.0])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_matched_pairs_keep_their_digits_in_float32(scale: float, impl: Implementation) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(512, 512, generator=generator)
    text = image + torch.randn(512, 512, generator=generator)

    def loss_and_gradients(dtype: torch.dtype) -> list[Tensor]:
        inputs = [x.to(dtype).requires_grad_() for x in (image, text, torch.tensor(scale))]
        loss = symmetric_info_nce(inputs[0], inputs[1], logit_scale=inputs[2], impl=impl)
        return [loss, *torch.autograd.grad(loss, inputs)]

    found, truth = loss_and_gradients(torch.float32), loss_and_gradients(torch.float64)
    if scale == 100.0:
        assert 0 < truth[0] < 1e-6
    for name, ours, exact in zip(["loss", "image", "text", "scale"], found, truth, strict=True):
        error = ((ours - exact).norm() / exact.norm()).item()
        assert error <= 1e-4, f"{name}: relative error {error:.1e}"


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_no_wrong_partner_no_loss(n: int, impl: Implementation) -> None:
    image, text = torch.ones(n, 4, requires_grad=True), torch.ones(n, 4, requires_grad=True)
    scale = torch.tensor(10.0, requires_grad=True)
    loss = symmetric_info_nce(image, text, logit_scale=scale, impl=impl)
    torch.autograd.backward(loss)
    assert loss.item() == 0.0
    for tensor in (image, text, scale):
        assert tensor.grad is not None
        assert torch.equal(tensor.grad, torch.zeros_like(tensor))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_zero_feature_has_a_finite_gradient(impl: Implementation) -> None:
    image = torch.zeros(3, 4, requires_grad=True)
    torch.autograd.backward(symmetric_info_nce(image, torch.eye(3, 4), logit_scale=10.0, impl=impl))
    assert image.grad is not None
    assert image.grad.isfinite().all()


def test_agrees_with_cross_entropy() -> None:
    image, text = pairs(3, 6)
    logits = 5 * F.normalize(image) @ F.normalize(text).T
    labels = torch.arange(6)
    truth = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    torch.testing.assert_close(symmetric_info_nce(image, text, logit_scale=5.0), truth)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": torch.ones(4, 4)}, r"image, text: .* came \(3, 4\) and \(4, 4\); pass one row"),
        ({"image": torch.ones(3)}, r"image, text: expected two tensors of one shape \(n, d\)"),
        ({"image": torch.ones(3, 4, dtype=torch.int64)}, r"image: .* came torch.int64; convert"),
        ({"text": torch.ones(3, 4, dtype=torch.bool)}, r"text: .* came torch.bool; convert"),
        ({"logit_scale": torch.ones(1)}, r"logit_scale: .* shape \(1,\); reshape it"),
        ({"logit_scale": math.nan}, r"logit_scale: .* came nan; pass 1 / temperature"),
        ({"logit_scale": -1.0}, r"logit_scale: expected a finite number >= 0, came -1.0"),
        ({"direction": "forth"}, r"direction: expected one of 'both', .* came 'forth'"),
        ({"impl": "fast"}, r"impl: expected one of 'auto', .* came 'fast'"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "image": torch.ones(3, 4),
        "text": torch.ones(3, 4),
        "logit_scale": 10.0,
    }
    with pytest.raises(ValueError, match=message):
        symmetric_info_nce(**(arguments | changes))
