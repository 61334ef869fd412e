"""Local-to-global cross-entropy: the formula, closed forms, gradients, refusals."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.core import oracles
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

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


def several(seed: int, v: int, g: int, n: int, k: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(v + g, n, k, dtype=torch.float64, generator=generator)
    return numbers[:v], numbers[v:]


@given(
    seed=st.integers(0, 1000),
    v=st.integers(1, 4),
    g=st.integers(1, 4),
    exclude=st.booleans(),
    temperature=st.floats(0.1, 2),
)
def test_several_global_views_equal_the_loop_over_pairs(
    seed: int, v: int, g: int, exclude: bool, temperature: float
) -> None:
    local, target = several(seed, v, g, 3, 4)
    options: dict[str, Any] = {"local_temperature": temperature, "global_temperature": 0.5}
    terms = [
        oracles.local_to_global(local[s : s + 1], target[t], **options)
        for s in range(v)
        for t in range(g)
        if not (exclude and s == t)
    ]
    loss = local_to_global_cross_entropy(local, target, exclude_same=exclude, **options)
    # One view against itself alone leaves no pair.
    assert loss.item() == pytest.approx(sum(terms) / max(len(terms), 1), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("exclude", [False, True])
def test_gradients_of_several_global_views(exclude: bool) -> None:
    local, target = several(0, 3, 2, 2, 3)

    def loss(local: Tensor, target: Tensor) -> Tensor:
        return local_to_global_cross_entropy(
            local, target, stop_gradient=False, exclude_same=exclude, **PLAIN
        )

    assert torch.autograd.gradcheck(loss, (local.requires_grad_(), target.requires_grad_()))


def test_excluding_a_view_keeps_what_the_others_say() -> None:
    """float32: view 0 is sure of prototype 0, view 1 gives it 1e-9; 1 + 1e-9 - 1 would be 0."""
    target = torch.tensor([[[40.0, 0.0]], [[0.0, math.log(1e9)]]])
    local = torch.tensor([[[-1e9, 0.0]], [[0.0, 0.0]]])
    loss = local_to_global_cross_entropy(local, target, exclude_same=True, **PLAIN)
    truth = local_to_global_cross_entropy(
        local.double(), target.double(), exclude_same=True, **PLAIN
    )
    assert truth.item() == pytest.approx((1 + math.log(2)) / 2, rel=1e-6)
    assert loss.item() == pytest.approx(truth.item(), rel=1e-6)


class Work(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the elements that operations read and write, and the largest tensor among them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0
        self.largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        flat, _ = torch.utils._pytree.tree_flatten((args, kwargs, result))
        sizes = [x.numel() for x in flat if isinstance(x, Tensor)]
        self.elements += sum(sizes)
        self.largest = max(self.largest, *sizes, 0)
        return result


def work(v: int, g: int, *, exclude: bool = False) -> Work:
    local, target = (x.requires_grad_() for x in several(0, v, g, 5, 7))
    counted = Work()
    with counted:
        loss = local_to_global_cross_entropy(
            local, target, stop_gradient=False, exclude_same=exclude, **PLAIN
        )
        torch.autograd.backward(loss)
    return counted


def test_the_work_is_that_of_the_views_and_not_of_their_pairs() -> None:
    # Affine in either number of views, without a product of the two.
    mixed = work(8, 4).elements - work(8, 2).elements - work(2, 4).elements + work(2, 2).elements
    assert mixed == 0
    four, eight, sixteen = (work(m, m, exclude=True).elements for m in (4, 8, 16))
    assert sixteen - eight == 2 * (eight - four)
    assert work(16, 8, exclude=True).largest == 16 * 5 * 7


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


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize(("v", "g"), [(0, 2), (2, 0), (1, 1)])
def test_few_pairs_of_views(v: int, g: int, exclude: bool) -> None:
    local, target = (x.requires_grad_() for x in several(0, v, g, 3, 4))
    loss = local_to_global_cross_entropy(local, target, exclude_same=exclude, **PLAIN)
    torch.autograd.backward(loss)
    assert local.grad is not None
    assert local.grad.isfinite().all()
    assert (loss.item() == 0.0) == (v * g == 0 or exclude)


@pytest.mark.parametrize("side", ["local", "global"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_logits_show_in_the_loss(side: str, value: float) -> None:
    local, target = several(0, 3, 2, 3, 4)
    (local if side == "local" else target)[1, 2, 0] = value
    assert not local_to_global_cross_entropy(local, target, exclude_same=True, **PLAIN).isfinite()


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
        ({"global_logits": torch.ones(2, 4)}, r"expected shapes \(v, n, k\) and \(n, k\) or"),
        ({"global_logits": torch.ones(1, 1, 3, 4)}, r"\(g, n, k\), came .* \(1, 1, 3, 4\); stack"),
        ({"global_logits": torch.ones(5, 2, 4)}, r"came \(2, 3, 4\) and \(5, 2, 4\)"),
        (
            {"local_logits": torch.ones(2, 3, 0), "global_logits": torch.ones(3, 0)},
            r"global_logits: expected at least 1 prototype, came shape \(3, 0\)",
        ),
        (
            {"global_logits": torch.ones(3, 4, device="meta")},
            r"global_logits: expected the device of local_logits, cpu, came meta; move",
        ),
        ({"center": torch.ones(4, device="meta")}, r"center: expected the device of .* came meta"),
        (
            {"local_logits": torch.ones(2, 3, 4, dtype=torch.complex64)},
            r"local_logits: .* came torch.complex64",
        ),
        ({"global_logits": torch.ones(3, 4).int()}, r"global_logits: .* came torch.int32"),
        ({"center": torch.ones(4).int()}, r"center: .* came torch.int32; convert"),
        ({"center": torch.ones(4, dtype=torch.complex64)}, r"center: .* came torch.complex64"),
        ({"center": torch.ones(5)}, r"center: expected shape \(4,\) or \(1, 4\), came \(5,\)"),
        ({"local_temperature": 0.0}, r"local_temperature: .* came 0.0; set it > 0"),
        ({"global_temperature": math.nan}, r"global_temperature: .* came nan; set it > 0"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    arguments = {"local_logits": torch.ones(2, 3, 4), "global_logits": torch.ones(3, 4), **PLAIN}
    with pytest.raises(ValueError, match=message):
        local_to_global_cross_entropy(**(arguments | changes))
