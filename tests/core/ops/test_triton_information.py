"""The kernels of the mutual information against float64; interpreted where there is no GPU."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vilseg_core.functional import mutual_information_loss
from vilseg_core.ops import chunked_moments
from vilseg_core.ops.triton_information import information, moments

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Problem(NamedTuple):
    a: Tensor
    b: Tensor
    weights: Tensor

    def inputs(self, masked: bool) -> tuple[Tensor, ...]:
        return tuple(self) if masked else tuple(self)[:2]


def problem(*shape: int, spread: float = 1.0, seed: int = 0) -> Problem:
    """Logits of (b, c, ...) pixels of which the two sides agree in part, and soft weights."""
    generator = torch.Generator().manual_seed(seed)
    common, a, b = torch.randn(3, *shape, generator=generator) * spread
    weights = torch.rand(shape[0], *shape[2:], generator=generator)
    found = [x.to(DEVICE).requires_grad_() for x in (common + a, common + b, weights)]
    return Problem(*found)


def kernel(
    inputs: tuple[Tensor, ...],
    *,
    entropy_weight: float = 1.0,
    symmetric: bool = False,
    channel_dim: int = 1,
    bits: int = 0,
) -> tuple[Tensor, ...]:
    """Loss and gradients of all inputs."""
    loss = information(
        inputs[0],
        inputs[1],
        channel_dim=channel_dim,
        weights=inputs[2] if len(inputs) == 3 else None,
        entropy_weight=entropy_weight,
        symmetric=symmetric,
        bits=bits,
    )
    return loss, *torch.autograd.grad(loss, inputs)


def plain(
    inputs: tuple[Tensor, ...],
    *,
    entropy_weight: float = 1.0,
    symmetric: bool = False,
    channel_dim: int = 1,
) -> tuple[Tensor, ...]:
    """The same from the reference on the same numbers, in float64."""
    inputs = tuple(x.detach().double().requires_grad_() for x in inputs)
    loss = mutual_information_loss(
        inputs[0],
        inputs[1],
        channel_dim=channel_dim,
        mask=inputs[2] if len(inputs) == 3 else None,
        entropy_weight=entropy_weight,
        symmetric=symmetric,
        impl="reference",
    )
    return loss, *torch.autograd.grad(loss, inputs)


def formula(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The same from Eq. 7 and 8 as they are written, in float32."""
    inputs = tuple(x.detach().requires_grad_() for x in inputs)
    p, q = (x.softmax(1).movedim(1, -1).flatten(0, -2) for x in inputs[:2])
    weights = inputs[2].reshape(-1, 1) if len(inputs) == 3 else torch.ones_like(p[:, :1])
    joint = (p * weights).T @ q / weights.sum()
    tiny = torch.finfo(joint.dtype).tiny
    rows, columns = joint.sum(1, keepdim=True), joint.sum(0, keepdim=True)
    logs = joint.clamp_min(tiny).log() - rows.clamp_min(tiny).log() - columns.clamp_min(tiny).log()
    loss = -(joint * logs).sum()
    return loss, *torch.autograd.grad(loss, inputs)


def error(found: Tensor, truth: Tensor) -> float:
    """Relative, of the whole tensor."""
    return float((found.detach().double() - truth.detach()).norm() / truth.detach().norm())


def assert_near(found: tuple[Tensor, ...], truth: tuple[Tensor, ...], *, limit: float) -> None:
    errors = [error(ours, exact) for ours, exact in zip(found, truth, strict=True)]
    assert max(errors) < limit, errors


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(1, 2, 5), (2, 3, 67), (3, 25, 5, 7), (1, 33, 37), (2, 130, 17)])
def test_loss_and_gradients_equal_the_reference(shape: tuple[int, ...], masked: bool) -> None:
    inputs = problem(*shape).inputs(masked)
    assert_near(kernel(inputs), plain(inputs), limit=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [25, 150])
@pytest.mark.parametrize(("entropy_weight", "symmetric"), [(1.5, False), (1.0, True), (0.5, True)])
def test_options_equal_the_reference(clusters: int, entropy_weight: float, symmetric: bool) -> None:
    inputs = problem(2, clusters, 31).inputs(True)
    found = kernel(inputs, entropy_weight=entropy_weight, symmetric=symmetric)
    truth = plain(inputs, entropy_weight=entropy_weight, symmetric=symmetric)
    assert_near(found, truth, limit=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("clusters", "pixels"), [(64, 150), (200, 40)])
def test_many_clusters(clusters: int, pixels: int) -> None:
    inputs = problem(1, clusters, pixels).inputs(False)
    assert_near(kernel(inputs), plain(inputs), limit=1e-5)


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 9), st.integers(1, 9)),
    masked=st.booleans(),
    seed=st.integers(0, 100),
)
@settings(max_examples=12)
def test_moments_equal_the_chunked_ones(
    shape: tuple[int, int, int, int], masked: bool, seed: int
) -> None:
    inputs = problem(*shape, seed=seed).inputs(masked)
    wide = tuple(x.detach().double().requires_grad_() for x in inputs)
    found = moments(*inputs[:2], channel_dim=1, weights=inputs[2] if masked else None)
    truth = chunked_moments.moments(*wide[:2], channel_dim=1, weights=wide[2] if masked else None)
    grad = torch.linspace(-1, 1, truth.numel(), dtype=torch.float64, device=DEVICE)
    grad = grad.reshape(truth.shape)
    torch.testing.assert_close(found, truth, rtol=2e-6, atol=1e-7)
    for ours, exact in zip(
        torch.autograd.grad(found, inputs, grad),
        torch.autograd.grad(truth, wide, grad),
        strict=True,
    ):
        torch.testing.assert_close(ours.double(), exact, rtol=2e-5, atol=2e-6)


def test_moments_of_many_clusters() -> None:
    inputs = problem(1, 140, 30).inputs(True)
    wide = tuple(x.detach().double().requires_grad_() for x in inputs)
    found = moments(*inputs[:2], channel_dim=1, weights=inputs[2])
    truth = chunked_moments.moments(*wide[:2], channel_dim=1, weights=wide[2])
    grad = torch.randn_like(truth)
    found_all = (found, *torch.autograd.grad(found, inputs, grad))
    assert_near(found_all, (truth, *torch.autograd.grad(truth, wide, grad)), limit=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [6, 130])
def test_masked_pixels_have_no_influence(clusters: int) -> None:
    a, b, _ = problem(2, clusters, 40)
    mask = (torch.arange(80, device=DEVICE).view(2, 40) % 3 > 0).float()
    mask[0, :20] = 0.0
    kept = mask.bool()
    rows = tuple(x.detach().movedim(1, -1)[kept].requires_grad_() for x in (a, b))
    truth = plain(rows)

    def run(filling: float) -> tuple[Tensor, ...]:
        full = [torch.where(kept[:, None], x, filling).detach() for x in (a, b)]
        full[0][:, 0] = torch.where(kept, full[0][:, 0], -filling)
        inputs = tuple(x.requires_grad_() for x in full)
        loss = information(
            *inputs, channel_dim=1, weights=mask, entropy_weight=1.0, symmetric=False
        )
        return loss, *torch.autograd.grad(loss, inputs)

    small, large = run(0.0), run(1e30)
    assert all(torch.equal(x, y) for x, y in zip(small, large, strict=True))
    grads = tuple(x.movedim(1, -1)[kept] for x in small[1:])
    assert_near((small[0], *grads), truth, limit=1e-5)
    assert all(float(x.movedim(1, -1)[~kept].abs().max()) == 0.0 for x in small[1:])


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [4, 130])
@pytest.mark.parametrize("pixels", [0, 1, 9])
def test_no_mass_and_few_pixels(clusters: int, pixels: int) -> None:
    a, b, weights = problem(1, clusters, pixels)
    weights = torch.zeros_like(weights).requires_grad_()
    for inputs in ((a, b), (a, b, weights)):
        found = kernel(inputs, entropy_weight=1.5)
        truth = plain(inputs, entropy_weight=1.5)
        for ours, exact in zip(found, truth, strict=True):
            torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5)


def test_weights_of_any_size() -> None:
    a, b, weights = problem(1, 7, 90)
    large = (weights.detach() * torch.linspace(-20, 20, 90, device=DEVICE).exp()).requires_grad_()
    assert_near(kernel((a, b, large)), plain((a, b, large)), limit=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [25, 130])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_of_16_bits(clusters: int, dtype: torch.dtype) -> None:
    a, b, _ = problem(2, clusters, 25)
    inputs = tuple(x.detach().to(dtype).requires_grad_() for x in (a, b))
    found, truth = kernel(inputs), plain(inputs)
    assert found[0].dtype == torch.float32
    assert error(found[0], truth[0]) < 1e-3
    for ours, exact in zip(found[1:], truth[1:], strict=True):
        assert ours.dtype == dtype
        # One unit in the last place: the interpreter cuts float32 off where a GPU rounds.
        allowed = torch.finfo(dtype).eps * exact.abs() + 1e-2 * exact.abs().mean()
        assert bool(((ours.double() - exact).abs() <= allowed).all())


def test_near_the_start_of_training_the_gradient_is_no_worse_than_plain_torch() -> None:
    inputs = problem(1, 32, 500, spread=0.05).inputs(False)
    found, rough, truth = kernel(inputs), formula(inputs), plain(inputs)
    for ours, theirs, exact in zip(found, rough, truth, strict=True):
        assert error(ours, exact) <= error(theirs, exact)


@pytest.mark.parametrize("bits", [11, 22])
def test_unbalanced_marginals_are_centred(bits: int) -> None:
    a, b, _ = problem(1, 16, 600, spread=0.05)
    bias = torch.linspace(-3, 3, 16, device=DEVICE)[None, :, None]
    inputs = tuple((x.detach() + bias).requires_grad_() for x in (a, b))
    # 11 bits of numbers less the smallest; of whole shares they would be off by half the gradient.
    assert_near(kernel(inputs, bits=bits), plain(inputs), limit=4e-3 if bits == 11 else 1e-4)


@pytest.mark.parametrize("bits", [11, 22])
def test_parts_without_weight_change_nothing(bits: int) -> None:
    a, b, weights = problem(1, 16, 600, spread=0.05)
    with torch.no_grad():
        # Longer than the pixels of a program.
        weights[:, :300] = 0.0
        weights[:, 500:] = 0.0
    found, truth = kernel((a, b, weights), bits=bits), plain((a, b, weights))
    # Not the weights' own: logits without weight are set to 0 before the operator is called.
    assert_near(found[:3], truth[:3], limit=4e-3 if bits == 11 else 1e-4)
    assert all(float(x.detach()[..., :300].abs().max()) == 0.0 for x in found[1:3])


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [10, 130])
def test_saturated_logits(clusters: int) -> None:
    inputs = problem(1, clusters, 60, spread=20.0).inputs(True)
    found, rough, truth = kernel(inputs), formula(inputs), plain(inputs)
    for ours, theirs, exact in zip(found, rough, truth, strict=True):
        # A rounding, and one of the 22 bits of the operands of a product.
        assert error(ours, exact) <= error(theirs, exact) + 2.0**-23 + 2.0**-22
    assert_near(kernel(inputs, bits=11), truth, limit=3e-3)


def test_dead_clusters_leave_everything_finite() -> None:
    a, b, _ = problem(1, 6, 50)
    with torch.no_grad():
        a[:, 2] = -200.0
        b[:, 4] = -60.0
    assert_near(kernel((a, b)), plain((a, b)), limit=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_float32_products_follow_the_setting_of_torch(masked: bool) -> None:
    inputs = problem(1, 8, 50).inputs(masked)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        loose = kernel(inputs)
        torch.set_float32_matmul_precision("highest")
        exact = kernel(inputs)
    finally:
        torch.set_float32_matmul_precision(before)
    for ours, expected in ((loose, kernel(inputs, bits=11)), (exact, kernel(inputs, bits=22))):
        assert all(torch.equal(x, y) for x, y in zip(ours, expected, strict=True))
