"""Displaced pairs and several heads at once, against loops over displacements and over heads."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vilseg_core.functional import joint_matrix, mutual_information, mutual_information_loss
from vilseg_core.ops import Implementation


def problem(seed: int, *shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    return a, b


def mask_for(seed: int, *shape: int) -> Tensor:
    """Weights, about a third of them 0."""
    weights = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (weights - 0.3).clamp_min(0)


def displaced_joint(a: Tensor, b: Tensor, mask: Tensor | None, displacement: int) -> Tensor:
    """Sum over every displacement of w(x) [w(x + u) > 0] p(x) q(x + u)^T, over its mass."""
    p, q = a.softmax(1), b.softmax(1)
    n, c, height, width = a.shape
    w = torch.ones(n, height, width, dtype=a.dtype) if mask is None else mask
    total, mass = torch.zeros(c, c, dtype=a.dtype), torch.zeros((), dtype=a.dtype)
    reach = range(-displacement, displacement + 1)
    for down in reach:
        for right in reach:
            for y in range(max(0, -down), min(height, height - down)):
                for x in range(max(0, -right), min(width, width - right)):
                    pair = w[:, y, x] * (w[:, y + down, x + right] > 0)
                    total = total + torch.einsum(
                        "n,nc,nk->ck", pair, p[:, :, y, x], q[:, :, y + down, x + right]
                    )
                    mass = mass + pair.sum()
    return total / mass if mass > 0 else torch.full_like(total, 1 / c**2)


@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(*(st.integers(1, size) for size in (2, 3, 4, 5))),
    displacement=st.integers(0, 5),
    masked=st.booleans(),
)
def test_displaced_joint_equals_the_loop(
    seed: int, shape: tuple[int, int, int, int], displacement: int, masked: bool
) -> None:
    a, b = problem(seed, *shape)
    mask = mask_for(seed, shape[0], *shape[2:]) if masked else None
    joint = joint_matrix(a, b, mask=mask, displacement=displacement)
    torch.testing.assert_close(joint, displaced_joint(a, b, mask, displacement))


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_of_displaced_pairs(masked: bool) -> None:
    a, b = (x.requires_grad_() for x in problem(0, 1, 3, 3, 2))
    mask = mask_for(1, 1, 3, 2) if masked else None

    def loss(a: Tensor, b: Tensor) -> Tensor:
        return mutual_information_loss(a, b, mask=mask, displacement=1, symmetric=True)

    assert torch.autograd.gradcheck(loss, (a, b))
    assert torch.autograd.gradgradcheck(loss, (a, b))


def test_a_displacement_beyond_the_grid_pairs_all_with_all() -> None:
    a, b = problem(0, 2, 4, 3, 5)
    every = joint_matrix(a, b, displacement=5)
    torch.testing.assert_close(joint_matrix(a, b, displacement=50), every)
    p, q = a.softmax(1).mean((2, 3)), b.softmax(1).mean((2, 3))
    torch.testing.assert_close(every, p.T @ q / 2)


def test_displaced_pairs_near_uniform_keep_their_digits() -> None:
    # Neighbours share their logits, or displaced pairs would hold nothing.
    base = torch.randn(4, 25, 4, 4, generator=torch.Generator().manual_seed(0))
    a = 0.05 * base.repeat_interleave(4, 2).repeat_interleave(4, 3)
    b = (a + 0.02 * problem(1, *a.shape)[0]).float()

    def gradient(dtype: torch.dtype) -> Tensor:
        x = a.to(dtype).requires_grad_()
        loss = mutual_information_loss(x, b.to(dtype), displacement=2)
        return torch.autograd.grad(loss, x)[0].double()

    exact = gradient(torch.float64)
    assert ((gradient(torch.float32) - exact).norm() / exact.norm()).item() < 4e-5


def test_auto_serves_displacement_and_chunked_says_why_it_does_not() -> None:
    a, b = torch.randn(2, 2, 3, 64, 64)
    truth = mutual_information_loss(a, b, displacement=1, impl="reference")
    assert torch.equal(mutual_information_loss(a, b, displacement=1), truth)
    for impl in ("chunked", "triton"):
        refused: Any = impl
        with pytest.raises(ValueError, match=f"impl: {impl!r} does not serve this call, because"):
            mutual_information_loss(a, b, displacement=1, impl=refused)
    with pytest.raises(ValueError, match="pairs each pixel with itself alone, and displacement"):
        mutual_information_loss(a, b, displacement=1, impl="chunked")


@pytest.mark.parametrize("impl", ["reference", "chunked"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("head_dim", "channel_dim"), [(1, 2), (0, -1), (-1, 1), (4, 0)])
def test_heads_equal_a_loop_over_them(
    head_dim: int, channel_dim: int, masked: bool, impl: Implementation
) -> None:
    heads = [problem(seed, 2, 4, 3, 5) for seed in range(3)]
    mask = mask_for(0, 2, 3, 5) if masked else None
    options: dict[str, Any] = {"mask": mask, "impl": impl}
    joints = torch.stack([joint_matrix(*head, **options) for head in heads])

    # (heads, c, b, h, w), then both to their places.
    a, b = (
        torch.stack(list(side)).movedim(2, 1).movedim((0, 1), (head_dim, channel_dim))
        for side in zip(*heads, strict=True)
    )
    a.requires_grad_()
    options |= {"head_dim": head_dim, "channel_dim": channel_dim}
    found = joint_matrix(a, b, **options)
    torch.testing.assert_close(found, joints)
    information = mutual_information(found)
    assert information.shape == (3,)
    loss = mutual_information_loss(a, b, **options)
    torch.testing.assert_close(loss, -information.mean())
    torch.testing.assert_close(
        torch.autograd.grad(loss, a)[0],
        torch.autograd.grad(-mutual_information(joint_matrix(a, b, **options)).mean(), a)[0],
    )
    if mask is not None:
        kept = mask.reshape(
            [1 if i in (head_dim % 5, channel_dim % 5) else n for i, n in enumerate(a.shape)]
        )
        torch.testing.assert_close(joint_matrix(a, b, **(options | {"mask": kept})), joints)


def test_heads_are_displaced_alike() -> None:
    heads = [problem(seed, 2, 4, 3, 5) for seed in range(2)]
    mask = mask_for(0, 2, 3, 5)
    a, b = (torch.stack(list(side), dim=1) for side in zip(*heads, strict=True))
    found = joint_matrix(a, b, channel_dim=2, head_dim=1, mask=mask, displacement=1)
    for joint, (first, second) in zip(found, heads, strict=True):
        truth = joint_matrix(first, second, mask=mask, displacement=1)
        torch.testing.assert_close(joint, truth)


@pytest.mark.parametrize("symmetric", [False, True])
def test_information_of_many_joints_is_that_of_each(symmetric: bool) -> None:
    joints = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    joints = joints / joints.sum((-2, -1), keepdim=True)
    options: dict[str, Any] = {"symmetric": symmetric, "entropy_weight": 1.2}
    found = mutual_information(joints, **options)
    assert found.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(found[i, j], mutual_information(joints[i, j], **options))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"displacement": -1}, "displacement: expected a whole number of pixels >= 0, came -1; 0"),
        ({"displacement": 1.5}, "displacement: expected a whole number .* came 1.5"),
        ({"displacement": True}, "displacement: expected a whole number .* came True"),
        (
            {"displacement": 1, "logits_a": torch.zeros(5, 3), "logits_b": torch.zeros(5, 3)},
            r"displacement: expected logits over a grid, .* came shape \(5, 3\); set ",
        ),
        (
            {"displacement": 1, "head_dim": 0},
            r"displacement: expected .* came shape \(2, 3, 4, 4\)",
        ),
        ({"head_dim": 4}, "head_dim: expected a dimension of logits .* came 4; .* holds the heads"),
        ({"head_dim": -3}, "head_dim: expected another dimension than channel_dim=1, came -3"),
        (
            {"head_dim": 0, "mask": torch.ones(2, 4, 4)},
            r"mask: .* shape \(4, 4\) or \(1, 1, 4, 4\)",
        ),
        (
            {"head_dim": 0, "logits_a": torch.zeros(2, 3), "logits_b": torch.zeros(2, 3)},
            r"expected a channel dimension, one of heads and at least one of pixels, .* \(2, 3\)",
        ),
        (
            {"head_dim": 0, "logits_a": torch.zeros(0, 3, 4), "logits_b": torch.zeros(0, 3, 4)},
            r"expected at least one head, came shape \(0, 3, 4\) with head_dim=0",
        ),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    grid = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match=message):
        mutual_information_loss(**({"logits_a": grid, "logits_b": grid} | arguments))
