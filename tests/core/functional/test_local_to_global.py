"""Local-to-global cross-entropy: the formula, closed forms, gradients, refusals."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.core import oracles
from torch import Tensor

from vilseg_core.functional import local_to_global_cross_entropy

PLAIN: dict[str, Any] = {"local_temperature": 1.0, "global_temperature": 1.0}


def views(seed: int, v: int = 2, n: int = 3, k: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(v * n * k + n * k + k, dtype=torch.float64, generator=generator)
    local, target, center = torch.split(numbers, [v * n * k, n * k, k])
    return local.reshape(v, n, k), target.reshape(n, k), center


@given(
    seed=st.integers(0, 1000),
    v=st.integers(1, 3),
    n=st.integers(1, 3),
    k=st.integers(1, 4),
    local_temperature=st.floats(0.1, 2),
    global_temperature=st.floats(0.1, 2),
    centred=st.booleans(),
)
def test_equals_the_loop(
    seed: int,
    v: int,
    n: int,
    k: int,
    local_temperature: float,
    global_temperature: float,
    centred: bool,
) -> None:
    local, target, center = views(seed, v, n, k)
    options: dict[str, Any] = {
        "local_temperature": local_temperature,
        "global_temperature": global_temperature,
    }
    loss = local_to_global_cross_entropy(
        local, target, center=center if centred else None, **options
    )
    truth = oracles.local_to_global(
        local, target, center=center.tolist() if centred else None, **options
    )
    assert loss.item() == pytest.approx(truth, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("temperatures", [(1.0, 1.0), (0.2, 0.1)])
def test_gradients(centred: bool, temperatures: tuple[float, float]) -> None:
    local, target, center = views(0)

    def loss(local: Tensor, target: Tensor) -> Tensor:
        return local_to_global_cross_entropy(
            local,
            target,
            local_temperature=temperatures[0],
            global_temperature=temperatures[1],
            center=center if centred else None,
            stop_gradient=False,
        )

    inputs = (local.requires_grad_(), target.requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs)


def test_targets_are_constants_unless_asked() -> None:
    local, target, center = views(0)
    for tensor in (local, target, center):
        tensor.requires_grad_()
    torch.autograd.backward(local_to_global_cross_entropy(local, target, center=center, **PLAIN))
    assert local.grad is not None
    assert target.grad is None
    assert center.grad is None


def test_eq_2_moves_both_sides() -> None:
    local, target, _ = views(0)
    target.requires_grad_()
    loss = local_to_global_cross_entropy(local, target, stop_gradient=False, **PLAIN)
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(oracles.local_to_global(local, target))
    assert target.grad is not None
    assert target.grad.abs().sum() > 0


def test_closed_forms() -> None:
    zeros = torch.zeros(2, 3, 8, dtype=torch.float64)
    sure = 1e4 * torch.eye(3, 8, dtype=torch.float64)
    flat = local_to_global_cross_entropy(zeros, sure, **PLAIN)
    assert flat.item() == pytest.approx(math.log(8))
    met = local_to_global_cross_entropy(sure.expand(2, 3, 8), sure, **PLAIN)
    assert met.item() == 0.0
    missed = local_to_global_cross_entropy(sure.flip(0).expand(2, 3, 8), sure, **PLAIN)
    assert missed.item() == pytest.approx(1e4 * 2 / 3)


@given(seed=st.integers(0, 1000), shift=st.floats(-50, 50))
def test_invariances(seed: int, shift: float) -> None:
    local, target, center = views(seed)
    loss = local_to_global_cross_entropy(local, target, center=center, **PLAIN)
    order = torch.tensor([2, 0, 1])
    same = [
        (local[:, order], target[order], center),
        (local.flip(0), target, center),
        (local + shift, target, center),
        (local, target + shift, center),
        (local, target, center.unsqueeze(0)),
        (local, target - center, torch.zeros(4)),
    ]
    for inputs in same:
        moved = local_to_global_cross_entropy(inputs[0], inputs[1], center=inputs[2], **PLAIN)
        torch.testing.assert_close(moved, loss)


@pytest.mark.parametrize(("v", "n"), [(0, 3), (2, 0), (2, 1)])
def test_few_views_and_images(v: int, n: int) -> None:
    local, target, _ = views(0, v, n)
    local.requires_grad_()
    loss = local_to_global_cross_entropy(local, target, **PLAIN)
    torch.autograd.backward(loss)
    assert local.grad is not None
    assert local.grad.isfinite().all()
    assert (loss.item() == 0.0) == (v * n == 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"local_logits": torch.ones(3, 4)}, r"local_logits, global_logits: .* came \(3, 4\) and"),
        ({"global_logits": torch.ones(2, 4)}, r"expected shapes \(v, n, k\) and \(n, k\)"),
        ({"global_logits": torch.ones(3, 4).int()}, r"global_logits: .* came torch.int32"),
        ({"center": torch.ones(5)}, r"center: expected shape \(4,\) or \(1, 4\), came \(5,\)"),
        ({"local_temperature": 0.0}, r"local_temperature: .* came 0.0; set it > 0"),
        ({"global_temperature": math.nan}, r"global_temperature: .* came nan; set it > 0"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    arguments = {"local_logits": torch.ones(2, 3, 4), "global_logits": torch.ones(3, 4), **PLAIN}
    with pytest.raises(ValueError, match=message):
        local_to_global_cross_entropy(**(arguments | changes))
