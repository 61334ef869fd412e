"""The functions with impl="triton": the kernels where they serve, a reason where they do not."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from vilseg_core import MutualInformationLoss, SymmetricInfoNCE, functional
from vilseg_core.ops.dispatch import HAS_TRITON

pytestmark = pytest.mark.skipif(not HAS_TRITON, reason="triton is not installed")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

contrast = partial(functional.symmetric_info_nce, logit_scale=20.0)
information = functional.mutual_information_loss

CASES: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "contrast": (contrast, (9, 12)),
    "contrast one way": (partial(contrast, direction="text_to_image"), (9, 12)),
    "contrast smoothed": (partial(contrast, label_smoothing=0.2), (9, 12)),
    "information": (information, (2, 5, 4, 6)),
    "information symmetric": (
        partial(information, symmetric=True, entropy_weight=1.3, channel_dim=-1),
        (30, 5),
    ),
    "information of heads": (partial(information, head_dim=0, channel_dim=2), (3, 2, 5, 4, 4)),
    "joint": (partial(functional.joint_matrix, head_dim=-1), (2, 4, 9, 2)),
}


def inputs_of(name: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(CASES[name][1], generator=generator).to(DEVICE) for _ in range(2)]


def gradients(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    result = function(*leaves)
    weights = torch.linspace(1, 2, result.numel(), device=DEVICE).to(result.dtype)
    total = (weights.reshape(result.shape) * result).sum()
    return [result, *torch.autograd.grad(total, leaves)]


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_those_of_the_reference(name: str) -> None:
    function, inputs = CASES[name][0], inputs_of(name)
    truth = gradients(partial(function, impl="reference"), [x.double() for x in inputs])
    found = gradients(partial(function, impl="triton"), inputs)
    for ours, exact in zip(found, truth, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_compiles_without_a_break(name: str) -> None:
    torch.compiler.reset()
    function = partial(CASES[name][0], impl="triton")
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    inputs = inputs_of(name)
    for ours, plain in zip(gradients(compiled, inputs), gradients(function, inputs), strict=True):
        torch.testing.assert_close(ours, plain)


def test_statistics_beside_the_loss() -> None:
    image, text = inputs_of("contrast")
    loss, found = contrast(image, text, impl="triton", return_statistics=True)
    expected, exact = contrast(image, text, impl="reference", return_statistics=True)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(tuple(found), tuple(exact))
    a, b = inputs_of("information")
    loss, shares = information(a, b, impl="triton", return_statistics=True)
    expected, exact_shares = information(a, b, impl="reference", return_statistics=True)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(tuple(shares), tuple(exact_shares), rtol=1e-4, atol=1e-6)


def test_a_mask_weighs_the_pixels() -> None:
    a, b = inputs_of("information")
    mask = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(2)).to(DEVICE)
    found = gradients(partial(information, mask=mask, impl="triton"), [a, b])
    exact = gradients(partial(information, mask=mask, impl="reference"), [a, b])
    for ours, truth in zip(found, exact, strict=True):
        torch.testing.assert_close(ours, truth, rtol=1e-4, atol=1e-6)


def test_the_temperature_is_taught_through_the_module() -> None:
    image, text = inputs_of("contrast")
    slopes = []
    for impl in ("triton", "reference"):
        loss = SymmetricInfoNCE(impl=impl).to(DEVICE)
        torch.autograd.backward(loss(image, text))
        assert loss.logit_scale.grad is not None
        slopes.append(loss.logit_scale.grad)
    torch.testing.assert_close(slopes[0], slopes[1])


@pytest.mark.parametrize("name", CASES)
def test_bfloat16_under_autocast_is_computed_in_float32(name: str) -> None:
    function, inputs = CASES[name][0], [x.bfloat16() for x in inputs_of(name)]

    def under_autocast(*leaves: Tensor) -> Tensor:
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            result: Tensor = function(*leaves, impl="triton")
            return result

    found = gradients(under_autocast, inputs)
    truth = gradients(partial(function, impl="reference"), [x.double() for x in inputs])
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[0].double(), truth[0], rtol=1e-3, atol=1e-4)
    for ours, exact in zip(found[1:], truth[1:], strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours.double() - exact).norm() < 1e-2 * exact.norm()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_strided_inputs_are_read_and_left_alone(name: str) -> None:
    function, inputs = partial(CASES[name][0], impl="triton"), inputs_of(name)
    # Every second entry of a larger tensor with its dimensions reversed in memory.
    strided = []
    for x in inputs:
        backwards = x.permute(*range(x.ndim)[::-1])
        wide = torch.stack([backwards, torch.full_like(backwards, math.nan)], dim=-1)
        strided.append(wide[..., 0].permute(*range(x.ndim)[::-1]).requires_grad_())
    assert not any(x.is_contiguous() for x in strided)
    result, truth = function(*strided), gradients(function, inputs)
    weights = torch.linspace(1, 2, result.numel(), device=DEVICE).reshape(result.shape)
    found = [result, *torch.autograd.grad((weights * result).sum(), strided)]
    torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(x, y) for x, y in zip(strided, inputs, strict=True))


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("statistics", [False, True])
@pytest.mark.parametrize("direction", ["both", "image_to_text", "text_to_image"])
def test_no_wrong_partner_no_loss(n: int, direction: Any, statistics: bool) -> None:
    image, text = (torch.ones(n, 4, device=DEVICE, requires_grad=True) for _ in range(2))
    scale = torch.tensor(10.0, device=DEVICE, requires_grad=True)
    found = functional.symmetric_info_nce(
        image,
        text,
        logit_scale=scale,
        direction=direction,
        return_statistics=statistics,
        impl="triton",
    )
    loss = found[0] if isinstance(found, tuple) else found
    for gradient in torch.autograd.grad(loss, (image, text, scale)):
        assert torch.equal(gradient, torch.zeros_like(gradient))
    assert loss.item() == 0.0


@pytest.mark.parametrize("shape", [(7, 1), (7, 2), (2, 2, 3, 3), (1, 2), (0, 2)])
def test_one_and_two_clusters(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(3)
    inputs = [torch.randn(shape, generator=generator).to(DEVICE) for _ in range(2)]
    for function in (information, functional.joint_matrix):
        found = gradients(partial(function, impl="triton"), inputs)
        truth = gradients(partial(function, impl="reference"), [x.double() for x in inputs])
        for ours, exact in zip(found, truth, strict=True):
            torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("impl", ["chunked", "triton"])
@pytest.mark.parametrize("name", CASES)
def test_a_second_derivative_is_an_error(name: str, impl: str) -> None:
    leaves = [x.requires_grad_() for x in inputs_of(name)]
    result = CASES[name][0](*leaves, impl=impl).square().sum()
    first = torch.autograd.grad(result, leaves, create_graph=True)
    total = torch.cat([x.flatten() for x in first]).sum()
    with pytest.raises(RuntimeError, match=r"no autograd formula|differentiate twice"):
        torch.autograd.grad(total, leaves, allow_unused=True)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", CASES)
def test_what_is_not_finite_shows(name: str, value: float) -> None:
    inputs = inputs_of(name)
    inputs[0].flatten()[3] = value
    found = gradients(partial(CASES[name][0], impl="triton"), inputs)
    assert all(x.isnan().any() for x in found)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1e9])
def test_weights_that_are_none(value: float, symmetric: bool) -> None:
    a, b = inputs_of("information")
    mask = torch.ones(2, 4, 6, device=DEVICE)
    mask[1, 2, 3] = value
    found = information(a, b, mask=mask, symmetric=symmetric, impl="triton")
    if value < 0:
        exact = information(a, b, mask=mask.clamp_min(0), symmetric=symmetric, impl="reference")
        torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-6)
    else:
        assert found.isnan()


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ({"ids": torch.arange(9, device=DEVICE)}, "ids, valid or negatives are given"),
        ({"valid": torch.ones(9, dtype=torch.bool, device=DEVICE)}, "ids, valid or negatives"),
        ({"text_negatives": torch.ones(2, 12, device=DEVICE)}, "ids, valid or negatives"),
    ],
)
def test_options_of_the_contrast_that_no_kernel_serves(option: Any, reason: str) -> None:
    image, text = inputs_of("contrast")
    with pytest.raises(ValueError, match=f"'triton' does not serve this call, because {reason}"):
        contrast(image, text, impl="triton", **option)


def test_what_else_no_kernel_serves() -> None:
    a, b = inputs_of("information")
    with pytest.raises(ValueError, match=r"'triton' .* displacement is not 0"):
        information(a, b, impl="triton", displacement=1)
    with pytest.raises(ValueError, match=r"'triton' .* an input is float64"):
        MutualInformationLoss(impl="triton")(a.double(), b)
    with pytest.raises(ValueError, match=r"'triton' .* this function has no kernel"):
        functional.sigmoid_contrastive_loss(
            a.flatten(1), b.flatten(1), logit_scale=1.0, logit_bias=0.0, impl="triton"
        )
