"""What every function keeps: compile, autocast, precision, strides, untouched inputs."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from vilseg_core import functional

Case = tuple[Callable[..., Tensor], list[tuple[int, ...]]]

CASES: dict[str, Case] = {
    "info_nce": (partial(functional.symmetric_info_nce, logit_scale=10.0), [(5, 8), (5, 8)]),
    "info_nce_chunked": (
        partial(functional.symmetric_info_nce, logit_scale=10.0, impl="chunked"),
        [(5, 8), (5, 8)],
    ),
    "info_nce_options": (
        partial(
            functional.symmetric_info_nce,
            logit_scale=10.0,
            ids=torch.tensor([0, 1, 0, 2, 3]),
            valid=torch.arange(5) < 4,
            label_smoothing=0.1,
        ),
        [(5, 8), (5, 8)],
    ),
    "info_nce_options_chunked": (
        lambda image, text, image_negatives, text_negatives: functional.symmetric_info_nce(
            image,
            text,
            logit_scale=10.0,
            ids=torch.tensor([0, 1, 0, 2, 3]),
            valid=torch.arange(5) < 4,
            label_smoothing=0.1,
            image_negatives=image_negatives,
            text_negatives=text_negatives,
            impl="chunked",
        ),
        [(5, 8), (5, 8), (3, 8), (2, 8)],
    ),
    "sigmoid": (
        partial(functional.sigmoid_contrastive_loss, logit_scale=10.0, logit_bias=-10.0),
        [(5, 8), (5, 8)],
    ),
    "sigmoid_chunked": (
        partial(
            functional.sigmoid_contrastive_loss,
            logit_scale=10.0,
            logit_bias=-10.0,
            ids=torch.tensor([0, 1, 0, 2, 3]),
            impl="chunked",
        ),
        [(5, 8), (5, 8)],
    ),
    "joint": (functional.joint_matrix, [(2, 3, 4, 5), (2, 3, 4, 5)]),
    "joint_chunked": (
        partial(functional.joint_matrix, impl="chunked"),
        [(2, 3, 4, 5), (2, 3, 4, 5)],
    ),
    "information": (functional.mutual_information, [(4, 4)]),
    "information_loss": (
        partial(functional.mutual_information_loss, entropy_weight=1.2, symmetric=True),
        [(2, 3, 4, 5), (2, 3, 4, 5)],
    ),
    "information_loss_chunked": (
        partial(functional.mutual_information_loss, impl="chunked"),
        [(2, 3, 4, 5), (2, 3, 4, 5)],
    ),
    "information_loss_displaced": (
        partial(functional.mutual_information_loss, displacement=1),
        [(2, 3, 4, 5), (2, 3, 4, 5)],
    ),
    "information_loss_heads": (
        partial(functional.mutual_information_loss, head_dim=2, impl="chunked"),
        [(2, 3, 4, 5), (2, 3, 4, 5)],
    ),
    "local_to_global": (
        partial(
            functional.local_to_global_cross_entropy,
            local_temperature=0.1,
            global_temperature=0.05,
            center=torch.full((7,), 0.5),
            stop_gradient=False,
        ),
        [(2, 3, 7), (3, 7)],
    ),
    "local_to_global_pairs": (
        partial(
            functional.local_to_global_cross_entropy,
            local_temperature=0.1,
            global_temperature=0.05,
            stop_gradient=False,
            exclude_same=True,
        ),
        [(3, 5, 7), (2, 5, 7)],
    ),
    "sinkhorn": (partial(functional.sinkhorn_log_assignment, temperature=0.1), [(5, 7)]),
}


def inputs_of(name: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator) for shape in CASES[name][1]]
    if name == "information":
        inputs = [inputs[0].flatten().softmax(0).reshape(4, 4)]
    return [x.to(dtype) for x in inputs]


def gradients(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    result = function(*inputs)
    if not result.requires_grad:
        return [result]
    weights = torch.linspace(1, 2, result.numel(), dtype=result.dtype).reshape(result.shape)
    return [result, *torch.autograd.grad((weights * result).sum(), inputs)]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_compiles_without_a_break(name: str) -> None:
    function = CASES[name][0]
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for ours, truth in zip(
        gradients(compiled, inputs_of(name)), gradients(function, inputs_of(name)), strict=True
    ):
        torch.testing.assert_close(ours, truth)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    function = CASES[name][0]
    half = inputs_of(name, dtype)
    found = function(*half)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, function(*(x.float() for x in half)))


@pytest.mark.parametrize("name", CASES)
def test_autocast_changes_nothing(name: str) -> None:
    function = CASES[name][0]
    truth = gradients(function, inputs_of(name))

    def under_autocast(*inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return function(*inputs)

    # Forward only: torch asks for the backward pass to be run outside of autocast.
    found = gradients(under_autocast, inputs_of(name))
    for ours, exact in zip(found, truth, strict=True):
        assert torch.equal(ours, exact)


@pytest.mark.parametrize("name", CASES)
def test_float64_stays_float64(name: str) -> None:
    inputs = inputs_of(name, torch.float64)
    assert CASES[name][0](*inputs).dtype == torch.float64
    if len(inputs) == 2:
        assert CASES[name][0](inputs[0], inputs[1].float()).dtype == torch.float64


@pytest.mark.parametrize("name", CASES)
def test_inputs_are_not_written(name: str) -> None:
    inputs = inputs_of(name)
    copies = [x.clone() for x in inputs]
    gradients(CASES[name][0], inputs)
    CASES[name][0](*inputs)
    assert all(torch.equal(x, copy) for x, copy in zip(inputs, copies, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_strided_inputs(name: str) -> None:
    function, inputs = CASES[name][0], inputs_of(name)
    # Every second entry of a larger tensor with its dimensions reversed in memory.
    strided = []
    for x in inputs:
        wide = torch.full((*x.shape[::-1], 2), torch.nan)
        wide[..., 0] = x.permute(*range(x.ndim)[::-1])
        strided.append(wide[..., 0].permute(*range(x.ndim)[::-1]))
    assert not any(x.is_contiguous() for x in strided)
    torch.testing.assert_close(function(*strided), function(*inputs))


@pytest.mark.parametrize("name", ["info_nce", "joint", "information_loss"])
def test_the_reference_can_be_asked_for(name: str) -> None:
    function, inputs = CASES[name][0], inputs_of(name)
    assert torch.equal(function(*inputs, impl="reference"), function(*inputs))


@pytest.mark.parametrize("name", CASES)
def test_the_same_inputs_give_the_same_bits(name: str) -> None:
    first = gradients(CASES[name][0], inputs_of(name))
    second = gradients(CASES[name][0], inputs_of(name))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
