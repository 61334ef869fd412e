"""Sinkhorn in the log domain: balance, agreement with the plain form, no overflow."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.core import oracles
from torch import Tensor

from vilseg_core.functional import local_to_global_cross_entropy, sinkhorn_log_assignment


def random_logits(seed: int, n: int, k: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, k, dtype=torch.float64, generator=generator)


@given(
    seed=st.integers(0, 1000),
    n=st.integers(1, 6),
    k=st.integers(1, 5),
    iterations=st.integers(1, 4),
    temperature=st.floats(0.1, 2),
)
def test_equals_plain_sinkhorn(
    seed: int, n: int, k: int, iterations: int, temperature: float
) -> None:
    logits = random_logits(seed, n, k)
    found = sinkhorn_log_assignment(logits, temperature=temperature, iterations=iterations)
    truth = oracles.sinkhorn(logits, temperature=temperature, iterations=iterations)
    torch.testing.assert_close(found.exp(), torch.tensor(truth, dtype=torch.float64))


def test_each_view_is_balanced_by_itself() -> None:
    views = torch.stack([random_logits(seed, 6, 4) for seed in range(3)])
    found = sinkhorn_log_assignment(views, temperature=0.5)
    for view, ours in zip(views, found, strict=True):
        torch.testing.assert_close(ours, sinkhorn_log_assignment(view, temperature=0.5))


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_rows_sum_to_one_and_nothing_overflows(size: float) -> None:
    logits = size * random_logits(0, 40, 6).float()
    assignment = sinkhorn_log_assignment(logits, temperature=0.05)
    assert not assignment.isnan().any()
    torch.testing.assert_close(assignment.exp().sum(1), torch.ones(40))


def test_columns_become_balanced() -> None:
    logits = random_logits(0, 40, 5)
    logits[:, 0] += 4.0
    before = logits.softmax(1).sum(0)
    after = sinkhorn_log_assignment(logits, temperature=1.0, iterations=3).exp().sum(0)
    converged = sinkhorn_log_assignment(logits, temperature=1.0, iterations=200).exp().sum(0)
    assert before.max() > 30
    assert 6 < after.min() < after.max() < 10
    torch.testing.assert_close(converged, torch.full((5,), 8.0, dtype=torch.float64))


@given(seed=st.integers(0, 1000), size=st.floats(0, 100))
def test_permutations_and_favourites(seed: int, size: float) -> None:
    """A constant added to a prototype's logits is gone after the first scaling."""
    logits = random_logits(seed, 5, 4)
    found = sinkhorn_log_assignment(logits, temperature=0.5)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    permuted = sinkhorn_log_assignment(logits[order], temperature=0.5)
    torch.testing.assert_close(permuted, found[order])
    favoured = logits + size * random_logits(seed + 1, 1, 4)
    torch.testing.assert_close(sinkhorn_log_assignment(favoured, temperature=0.5), found)


def test_it_is_a_target_for_the_cross_entropy() -> None:
    logits = random_logits(0, 6, 4).requires_grad_()
    target = sinkhorn_log_assignment(logits, temperature=0.5)
    assert not target.requires_grad
    local = torch.zeros(2, 6, 4, dtype=torch.float64)
    local[..., 1] = 1.0
    loss = local_to_global_cross_entropy(
        local, target, local_temperature=1.0, global_temperature=1.0
    )
    truth = -(target.exp() * local.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(loss, truth)


@pytest.mark.parametrize(("n", "k"), [(0, 4), (1, 4), (4, 1)])
def test_few_rows_or_columns(n: int, k: int) -> None:
    assignment = sinkhorn_log_assignment(random_logits(0, n, k), temperature=0.1)
    assert assignment.shape == (n, k)
    torch.testing.assert_close(assignment.exp().sum(1), torch.ones(n, dtype=torch.float64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits": torch.ones(4)}, r"logits: expected shape \(n, k\) or .* came \(4,\); pass"),
        ({"logits": torch.ones(3, 0)}, r"logits: expected .* with k > 0, came \(3, 0\)"),
        ({"logits": torch.ones(3, 4, dtype=torch.complex64)}, r"logits: .* came torch.complex64"),
        ({"logits": torch.ones(3, 4).int()}, r"logits: .* came torch.int32"),
        ({"temperature": 0.0}, r"temperature: .* came 0.0"),
        ({"iterations": 0}, r"iterations: expected a positive whole number, came 0; set it >= 1"),
        ({"iterations": 1.5}, r"iterations: expected a positive whole number, came 1.5"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"logits": torch.ones(3, 4), "temperature": 0.1}
    with pytest.raises(ValueError, match=message):
        sinkhorn_log_assignment(**(arguments | changes))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_logit_that_is_not_finite_shows(value: float) -> None:
    logits = random_logits(0, 4, 3)
    logits[1, 2] = value
    assert sinkhorn_log_assignment(logits, temperature=0.1).isnan().any()
