"""Statistics of a joint: closed forms, the formula, and those that the loss gives back."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vilseg_core import MutualInformationLoss
from vilseg_core.functional import (
    information_statistics,
    joint_matrix,
    mutual_information,
    mutual_information_loss,
)
from vilseg_core.ops import Implementation


def random_joint(*shape: int) -> Tensor:
    joint = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return joint / joint.sum((-2, -1), keepdim=True)


def entropy(shares: Tensor) -> float:
    values: list[float] = shares.flatten().tolist()
    return -sum(share * math.log(share) for share in values if share > 0)


def test_statistics_equal_the_formulas() -> None:
    joint = random_joint(4, 4)
    joint[1] = 0.0
    joint = joint / joint.sum()
    found = information_statistics(joint)
    a, b, both = entropy(joint.sum(1)), entropy(joint.sum(0)), entropy(joint)
    expected = (a + b - both, a, b, both, 2 * (a + b - both) / (a + b), math.exp(a), math.exp(b))
    for name, value, truth in zip(found._fields, found, expected, strict=True):
        assert value.item() == pytest.approx(truth, rel=1e-12), name
    assert found.information.item() == pytest.approx(mutual_information(joint).item(), rel=1e-12)


@pytest.mark.parametrize("c", [2, 25])
def test_equal_and_independent_assignments(c: int) -> None:
    equal = information_statistics(torch.eye(c) / c)
    assert equal.information.item() == pytest.approx(math.log(c))
    assert equal.normalized_information.item() == pytest.approx(1.0)
    assert equal.effective_clusters_a.item() == pytest.approx(c)
    independent = information_statistics(torch.full((c, c), 1 / c**2))
    assert independent.information.item() == pytest.approx(0.0, abs=1e-6)
    assert independent.normalized_information.item() == pytest.approx(0.0, abs=1e-6)
    assert independent.joint_entropy.item() == pytest.approx(2 * math.log(c))


def test_one_cluster_that_has_all() -> None:
    collapsed = torch.zeros(3, 3)
    collapsed[0, 0] = 1.0
    found = information_statistics(collapsed)
    assert found.normalized_information.item() == 0.0
    assert found.effective_clusters_a.item() == found.effective_clusters_b.item() == 1.0


def test_one_number_a_joint_in_its_dtype() -> None:
    for dtype, expected in ((torch.float64, torch.float64), (torch.bfloat16, torch.float32)):
        for value in information_statistics(random_joint(2, 3, 4, 4).to(dtype)):
            assert value.shape == (2, 3)
            assert value.dtype == expected


def test_the_module_gives_them_too() -> None:
    a, b = torch.randn(2, 3, 4, 5, 6)
    loss, found = MutualInformationLoss(symmetric=True)(a, b, return_statistics=True)
    truth, exact = mutual_information_loss(a, b, symmetric=True, return_statistics=True)
    assert torch.equal(loss, truth)
    assert all(torch.equal(x, y) for x, y in zip(found, exact, strict=True))


@pytest.mark.parametrize("impl", ["reference", "chunked"])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("head_dim", [None, 0])
def test_the_loss_gives_the_statistics_of_its_joint(
    head_dim: int | None, symmetric: bool, impl: Implementation
) -> None:
    a, b = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(5, 6) if head_dim == 0 else torch.rand(3, 5, 6)
    options: dict[str, Any] = {"mask": mask, "head_dim": head_dim, "impl": impl}
    loss, found = mutual_information_loss(
        a, b, symmetric=symmetric, return_statistics=True, **options
    )
    assert torch.equal(loss, mutual_information_loss(a, b, symmetric=symmetric, **options))
    assert loss.requires_grad
    joint = joint_matrix(a, b, **options)
    truth = information_statistics((joint + joint.mT) / 2 if symmetric else joint)
    for name, value, exact in zip(found._fields, found, truth, strict=True):
        torch.testing.assert_close(value, exact, msg=name)
        assert not value.requires_grad
    torch.testing.assert_close(-found.information.mean(), loss.detach())


def test_float32_statistics_keep_a_small_information() -> None:
    a, b = 0.05 * torch.randn(2, 9000, 25, generator=torch.Generator().manual_seed(0))
    _, found = mutual_information_loss(a, b, return_statistics=True)
    _, exact = mutual_information_loss(a.double(), b.double(), return_statistics=True)
    torch.testing.assert_close(found.information.double(), exact.information, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("joint", "message"),
    [
        (torch.ones(3, 4), r"joint: expected square matrices \(..., c, c\), came \(3, 4\); make"),
        (torch.ones(2, 0, 0), r"joint: expected square matrices .* came \(2, 0, 0\)"),
        (torch.ones(3), r"joint: expected square matrices .* came \(3,\)"),
        (torch.ones(3, 3, dtype=torch.int64), "joint: .* came torch.int64"),
    ],
)
def test_refused_joints(joint: Tensor, message: str) -> None:
    for function in (information_statistics, mutual_information):
        with pytest.raises(ValueError, match=message):
            function(joint)
