"""Joint matrix and mutual information: the formulas, closed forms, symmetries, precision."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.core import oracles
from torch import Tensor

from vilseg_core.functional import joint_matrix, mutual_information, mutual_information_loss
from vilseg_core.ops import Implementation

IMPLEMENTATIONS: list[Implementation] = ["reference", "chunked"]


def logits(seed: int, *shape: int, std: float = 1.5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = std * torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    return a, b


def weights_for(seed: int, n: int) -> Tensor:
    return torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(
    seed=st.integers(0, 1000),
    n=st.integers(1, 6),
    c=st.integers(1, 5),
    masked=st.booleans(),
    impl=st.sampled_from(IMPLEMENTATIONS),
)
def test_joint_equals_the_loop(
    seed: int, n: int, c: int, masked: bool, impl: Implementation
) -> None:
    a, b = logits(seed, n, c)
    mask = weights_for(seed, n) + 0.1 if masked else None
    truth = oracles.joint(a, b, weights=None if mask is None else mask.tolist())
    joint = joint_matrix(a, b, mask=mask, impl=impl)
    torch.testing.assert_close(joint, torch.tensor(truth, dtype=torch.float64))
    assert joint.sum().item() == pytest.approx(1.0)


@given(
    seed=st.integers(0, 1000),
    n=st.integers(1, 6),
    c=st.integers(1, 5),
    entropy_weight=st.floats(0, 2),
    symmetric=st.booleans(),
)
def test_information_equals_the_loop(
    seed: int, n: int, c: int, entropy_weight: float, symmetric: bool
) -> None:
    a, b = logits(seed, n, c)
    options: dict[str, Any] = {"entropy_weight": entropy_weight, "symmetric": symmetric}
    truth = oracles.mutual_information(oracles.joint(a, b), **options)
    composed = mutual_information(joint_matrix(a, b), **options)
    assert composed.item() == pytest.approx(truth, abs=1e-12)
    assert mutual_information_loss(a, b, **options).item() == pytest.approx(-truth, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("entropy_weight", [1.0, 1.3])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_gradients(
    symmetric: bool, entropy_weight: float, masked: bool, impl: Implementation
) -> None:
    a, b = (x.requires_grad_() for x in logits(0, 2, 3, 2, 2))
    mask = weights_for(1, 8).reshape(2, 2, 2).requires_grad_() if masked else None

    def loss(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
        return mutual_information_loss(
            a, b, mask=mask, entropy_weight=entropy_weight, symmetric=symmetric, impl=impl
        )

    def joint_alone(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
        return joint_matrix(a, b, mask=mask, impl=impl)

    def composed(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
        joint = joint_alone(a, b, mask)
        return mutual_information(joint, entropy_weight=entropy_weight, symmetric=symmetric)

    inputs = (a, b) if mask is None else (a, b, mask)
    for function in (loss, composed, joint_alone):
        assert torch.autograd.gradcheck(function, inputs)
    if impl == "reference":
        assert torch.autograd.gradgradcheck(loss, inputs)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_layouts_agree(impl: Implementation) -> None:
    a, b = logits(0, 2, 3, 4, 5)
    mask = weights_for(0, 40).reshape(2, 4, 5)
    truth = joint_matrix(a, b, mask=mask, impl=impl)
    rows_a, rows_b = (x.movedim(1, -1).reshape(-1, 3) for x in (a, b))
    torch.testing.assert_close(joint_matrix(rows_a, rows_b, mask=mask.flatten(), impl=impl), truth)
    torch.testing.assert_close(joint_matrix(a, b, mask=mask.unsqueeze(1), impl=impl), truth)
    for dim in (0, 3, -2):
        moved = joint_matrix(
            a.movedim(1, dim),
            b.movedim(1, dim),
            channel_dim=dim,
            mask=mask.unsqueeze(dim),
            impl=impl,
        )
        torch.testing.assert_close(moved, truth)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_masked_pixels_are_as_if_absent(impl: Implementation) -> None:
    a, b = logits(0, 6, 4)
    mask = torch.tensor([True, False, True, True, False, True])
    a.requires_grad_()
    loss = mutual_information_loss(a, b, mask=mask, impl=impl)
    torch.testing.assert_close(loss, mutual_information_loss(a[mask], b[mask]))
    torch.autograd.backward(loss)
    assert a.grad is not None
    assert torch.equal(a.grad[~mask], torch.zeros(2, 4, dtype=torch.float64))


@given(seed=st.integers(0, 1000), size=st.floats(0.01, 100))
def test_weights_count_by_their_ratio(seed: int, size: float) -> None:
    a, b = logits(seed, 5, 3)
    mask = weights_for(seed, 5) + 0.1
    torch.testing.assert_close(joint_matrix(a, b, mask=size * mask), joint_matrix(a, b, mask=mask))


def test_zero_logits_hold_no_information() -> None:
    zeros = torch.zeros(2, 5, 3, 3)
    assert mutual_information_loss(zeros, zeros).item() == 0.0
    assert mutual_information(joint_matrix(zeros, zeros)).item() == pytest.approx(0.0, abs=1e-6)
    weighted = mutual_information_loss(zeros, zeros, entropy_weight=1.5)
    assert weighted.item() == pytest.approx(-math.log(5))


@pytest.mark.parametrize("c", [2, 5, 25])
def test_balanced_confident_equal_assignments_hold_log_c(c: int) -> None:
    confident = 200.0 * torch.eye(c).repeat(4, 1)
    loss = mutual_information_loss(confident, confident)
    assert loss.item() == pytest.approx(-math.log(c), rel=1e-5)
    joint = joint_matrix(confident, confident)
    torch.testing.assert_close(joint, torch.eye(c) / c, atol=1e-7, rtol=0)
    assert mutual_information(joint).item() == pytest.approx(math.log(c), rel=1e-5)


@given(seed=st.integers(0, 1000), n=st.integers(2, 6))
def test_invariances(seed: int, n: int) -> None:
    a, b = logits(seed, n, 4)
    joint = joint_matrix(a, b)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator)
    torch.testing.assert_close(joint_matrix(a[order], b[order]), joint)
    shift = 10 * torch.randn(n, 1, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(joint_matrix(a + shift, b - shift), joint)
    torch.testing.assert_close(joint_matrix(b, a), joint.T)
    loss = mutual_information_loss(a, b, symmetric=True)
    torch.testing.assert_close(mutual_information_loss(b, a, symmetric=True), loss)
    clusters = torch.randperm(4, generator=generator)
    renamed = mutual_information_loss(a[:, clusters], b[:, clusters])
    torch.testing.assert_close(renamed, mutual_information_loss(a, b))


@given(seed=st.integers(0, 1000), n=st.integers(1, 6), c=st.integers(2, 5))
def test_information_is_between_zero_and_log_c(seed: int, n: int, c: int) -> None:
    a, b = logits(seed, n, c, std=5.0)
    information = -mutual_information_loss(a, b).item()
    assert -1e-12 <= information <= math.log(c) + 1e-12


@pytest.mark.parametrize("entropy_weight", [1.0, 1.2])
@pytest.mark.parametrize("scale", [30.0, 1e3, 1e6])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_saturated_logits_and_dead_clusters_stay_finite(
    scale: float, entropy_weight: float, impl: Implementation
) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = scale * torch.randn(2, 4, 9, 5, 5, generator=generator)
    a[:, 6:] -= 10 * scale
    b[:, 6:] -= 10 * scale
    a.requires_grad_()
    fused = mutual_information_loss(a, b, entropy_weight=entropy_weight, impl=impl)
    composed = -mutual_information(joint_matrix(a, b, impl=impl), entropy_weight=entropy_weight)
    for loss in (fused, composed):
        (gradient,) = torch.autograd.grad(loss, a)
        assert loss.isfinite()
        assert gradient.isfinite().all()
    assert fused.item() == pytest.approx(composed.item(), rel=1e-4)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_joint_has_no_negative_entry(impl: Implementation) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = 40 * torch.randn(2, 500, 25, generator=generator)
    assert joint_matrix(a, b, impl=impl).min().item() >= 0.0


@pytest.mark.parametrize("std", [0.05, 1.0, 10.0])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_float32_keeps_its_digits(std: float, impl: Implementation) -> None:
    """Near the start J differs from p q by a thousandth: its plain form is off by a hundredth."""
    generator = torch.Generator().manual_seed(0)
    base, noise = torch.randn(2, 8, 25, 16, 16, generator=generator)
    a, b = std * base, std * (base + noise / 2)

    def loss_and_gradient(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        x = a.to(dtype).requires_grad_()
        loss = mutual_information_loss(x, b.to(dtype), impl=impl)
        return loss, torch.autograd.grad(loss, x)[0]

    loss, gradient = loss_and_gradient(torch.float32)
    exact_loss, exact_gradient = loss_and_gradient(torch.float64)
    assert loss.item() == pytest.approx(exact_loss.item(), rel=1e-4)
    assert ((gradient - exact_gradient).norm() / exact_gradient.norm()).item() < 2e-4


@pytest.mark.parametrize("case", ["no pixel", "no weight"])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_nothing_to_join_gives_a_uniform_joint(case: str, impl: Implementation) -> None:
    a, b = torch.randn(2, 3, 4, requires_grad=True).unbind()
    mask = None
    if case == "no pixel":
        a, b = a[:0], b[:0]
    else:
        mask = torch.zeros(3)
    torch.testing.assert_close(joint_matrix(a, b, mask=mask, impl=impl), torch.full((4, 4), 1 / 16))
    loss = mutual_information_loss(a, b, mask=mask, impl=impl)
    (gradient,) = torch.autograd.grad(loss, a)
    assert loss.item() == 0.0
    assert torch.equal(gradient, torch.zeros_like(a))


def test_one_pixel_holds_no_information() -> None:
    a, b = logits(0, 1, 4)
    assert mutual_information_loss(a, b).item() == pytest.approx(0.0, abs=1e-12)


def test_one_cluster_holds_no_information() -> None:
    a, b = (x.requires_grad_() for x in logits(0, 6, 1))
    loss = mutual_information_loss(a, b)
    assert loss.item() == 0.0
    for gradient in torch.autograd.grad(loss, (a, b)):
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("layout", ["grid", "rows"])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_logit_that_is_not_finite_shows_in_the_loss(
    impl: Implementation, layout: str, value: float
) -> None:
    a, b = logits(0, 2, 3, 4, 4) if layout == "grid" else logits(0, 32, 3)
    b[1, 2] = value
    assert mutual_information_loss(a, b, impl=impl).isnan()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_negative_weight_counts_as_none(impl: Implementation) -> None:
    a, b = logits(0, 4, 3)
    taken = joint_matrix(a, b, mask=torch.tensor([1.0, 1.0, -3.0, -1.0]), impl=impl)
    torch.testing.assert_close(taken, joint_matrix(a[:2], b[:2]))
    nothing = joint_matrix(a, b, mask=torch.tensor([0, 0, -1, -2]), impl=impl)
    torch.testing.assert_close(nothing, torch.full_like(nothing, 1 / 9))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_weight_that_is_not_finite_shows_in_the_loss(impl: Implementation, value: float) -> None:
    a, b = logits(0, 4, 3)
    assert mutual_information_loss(a, b, mask=torch.tensor([1.0, value, 1, 1]), impl=impl).isnan()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_logit_of_minus_infinity_is_a_probability_of_zero(impl: Implementation) -> None:
    a, b = logits(0, 9, 3)
    a[1, 2] = b[4, 0] = -math.inf
    low = [x.clamp_min(-1e3).requires_grad_() for x in (a, b)]
    a, b = a.requires_grad_(), b.requires_grad_()
    loss, truth = (mutual_information_loss(*x, impl=impl) for x in ((a, b), low))
    torch.testing.assert_close(loss, truth)
    for ours, exact in zip(
        torch.autograd.grad(loss, (a, b)), torch.autograd.grad(truth, low), strict=True
    ):
        torch.testing.assert_close(ours, exact)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_cluster_that_is_nearly_dead_has_a_finite_gradient(impl: Implementation) -> None:
    a = torch.zeros(8192, 3)
    a[:, 2] = -200.0
    a[0, 2] = -34.5  # p = 1e-19 over the batch, all of it from one pixel: p q is below 1e-38
    a.requires_grad_()
    (gradient,) = torch.autograd.grad(mutual_information_loss(a, a, impl=impl), a)
    assert gradient.isfinite().all()
