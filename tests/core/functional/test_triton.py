"""The functions with impl="triton": the kernels where they serve, a reason where they do not."""

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
