"""The modules add state and options to the functions, and nothing else."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vilseg_core import LocalToGlobalLoss, MutualInformationLoss, SymmetricInfoNCE, functional


def pairs(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, *shape, generator=generator)
    return first, second


@pytest.mark.parametrize("learnable", [True, False])
def test_info_nce_is_the_function_at_its_scale(learnable: bool) -> None:
    image, text = pairs(5, 4)
    loss = SymmetricInfoNCE(0.2, learnable=learnable, direction="text_to_image")
    truth = functional.symmetric_info_nce(image, text, logit_scale=5.0, direction="text_to_image")
    torch.testing.assert_close(loss(image, text), truth)


@pytest.mark.parametrize("learnable", [True, False])
def test_the_temperature_is_saved_under_clips_name(learnable: bool) -> None:
    loss = SymmetricInfoNCE(0.07, learnable=learnable)
    state = loss.state_dict()
    assert list(state) == ["logit_scale"]
    assert state["logit_scale"].item() == pytest.approx(math.log(1 / 0.07))
    assert [name for name, _ in loss.named_parameters()] == ["logit_scale"] * learnable
    loss.load_state_dict({"logit_scale": torch.tensor(3.0)})
    assert loss.scale().item() == pytest.approx(math.exp(3.0))


def test_the_temperature_learns() -> None:
    image, text = pairs(8, 4)
    loss = SymmetricInfoNCE(0.5)
    optimiser = torch.optim.SGD(loss.parameters(), lr=1.0)
    before = loss(image, text).item()
    for _ in range(5):
        optimiser.zero_grad()
        torch.autograd.backward(loss(image, text))
        optimiser.step()
    assert loss(image, text).item() < before


def beyond(value: float) -> SymmetricInfoNCE:
    loss = SymmetricInfoNCE(0.1, max_scale=100.0)
    loss.load_state_dict({"logit_scale": torch.tensor(value)})
    return loss


@pytest.mark.parametrize("value", [math.log(100.0) + 0.5, 50.0])
def test_the_scale_is_bounded_and_comes_back(value: float) -> None:
    loss = beyond(value)
    assert loss.scale().item() == pytest.approx(100.0)
    parameter = loss.logit_scale
    basis = torch.eye(4)
    # Matched pairs ask for more, mismatched ones for less.
    (outward,) = torch.autograd.grad(loss.scale() * -1.0, parameter)
    (inward,) = torch.autograd.grad(loss(basis, basis.flip(0)), parameter)
    assert outward.item() == 0.0
    assert inward.item() > 1.0
    optimiser = torch.optim.SGD(loss.parameters(), lr=1.0)
    for _ in range(3):
        optimiser.zero_grad()
        torch.autograd.backward(loss(basis, basis.flip(0)))
        optimiser.step()
    assert loss.scale().item() < 100.0


def test_below_the_bound_the_gradient_is_plain() -> None:
    for sign in (1.0, -1.0):
        loss = SymmetricInfoNCE(0.1)
        (gradient,) = torch.autograd.grad(sign * loss.scale(), loss.logit_scale)
        assert gradient.item() == pytest.approx(sign * 10.0, rel=1e-5)


def test_information_is_the_function_with_its_options() -> None:
    a, b = pairs(2, 4, 4, 3)
    mask = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(1))
    options: dict[str, Any] = {"channel_dim": 3, "entropy_weight": 1.2, "symmetric": True}
    options |= {"displacement": 1}
    loss = MutualInformationLoss(**options)
    assert not loss.state_dict()
    truth = functional.mutual_information_loss(a, b, mask=mask, **options)
    torch.testing.assert_close(loss(a, b, mask), truth)
    unmasked = functional.mutual_information_loss(a, b, **options)
    torch.testing.assert_close(loss(a, b), unmasked)
    heads = MutualInformationLoss(channel_dim=3, head_dim=1)
    truth = functional.mutual_information_loss(a, b, channel_dim=3, head_dim=1)
    torch.testing.assert_close(heads(a, b), truth)
    with pytest.raises(ValueError, match=r"displacement: .* came -1"):
        MutualInformationLoss(displacement=-1)


def test_sinkhorn_targets() -> None:
    local, target = torch.randn(2, 5, 6), torch.randn(5, 6, requires_grad=True)
    loss = LocalToGlobalLoss(6, global_temperature=0.3, sinkhorn_iterations=2)
    balanced = functional.sinkhorn_log_assignment(target, temperature=0.3, iterations=2)
    truth = -(balanced.exp() * (local / 0.1).log_softmax(-1)).sum(-1).mean()
    found = loss(local, target)
    torch.testing.assert_close(found, truth)
    assert not found.requires_grad


def test_eq_2_to_the_letter() -> None:
    local, target = torch.randn(2, 3, 6), torch.randn(3, 6, requires_grad=True)
    loss = LocalToGlobalLoss(
        6, local_temperature=1.0, global_temperature=1.0, targets="none", stop_gradient=False
    )
    found = loss(local, target)
    truth = -(target.softmax(-1) * local.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(found, truth)
    assert found.requires_grad


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["sinkhorn", "center", "none"])
def test_modules_compile_without_a_break(targets: Any) -> None:
    torch.compiler.reset()
    contrast, views = SymmetricInfoNCE(0.1), LocalToGlobalLoss(6, targets=targets)

    def total(image: Tensor, text: Tensor) -> Tensor:
        loss: Tensor = contrast(image, text) + views(torch.stack([image, text]), image)
        return loss

    compiled = torch.compile(total, fullgraph=True, backend="aot_eager")
    for function in (total, compiled):
        inputs = [x.requires_grad_() for x in pairs(5, 6)]
        wanted = [*inputs, contrast.logit_scale]
        gradients = torch.autograd.grad(function(*inputs), wanted)
        if function is total:
            truth = gradients
    for ours, exact in zip(gradients, truth, strict=True):
        torch.testing.assert_close(ours, exact)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, r"temperature: expected a positive finite number, came 0.0"),
        ({"temperature": 0.001}, r"temperature: .* 1 / max_scale = 0.01, came 0.001; raise"),
        ({"max_scale": math.inf}, r"max_scale: expected a positive finite number, came inf"),
        ({"direction": "up"}, r"direction: expected one of 'both'"),
        ({"impl": "fast"}, r"impl: expected one of 'auto', 'reference'"),
    ],
)
def test_info_nce_refusals(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SymmetricInfoNCE(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_prototypes": 0}, r"num_prototypes: expected a positive .* came 0"),
        ({"local_temperature": -1.0}, r"local_temperature: .* came -1.0"),
        ({"global_temperature": 0.0}, r"global_temperature: .* came 0.0"),
        ({"center_momentum": 1.0}, r"center_momentum: .* came 1.0; 0.9 is customary"),
        ({"sinkhorn_iterations": 0}, r"sinkhorn_iterations: .* came 0"),
        ({"targets": "ema"}, r"targets: expected one of 'sinkhorn', 'center', 'none', came 'ema'"),
        (
            {"stop_gradient": False},
            r"stop_gradient: .* with Sinkhorn targets.* choose targets='center'",
        ),
    ],
)
def test_local_to_global_refusals(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LocalToGlobalLoss(**({"num_prototypes": 6} | arguments))


def test_refused_inputs() -> None:
    loss = LocalToGlobalLoss(6, targets="center")
    with pytest.raises(ValueError, match=r"global_logits: expected 6 prototypes .* \(3, 5\)"):
        loss(torch.ones(2, 3, 6), torch.ones(3, 5))
    with pytest.raises(ValueError, match=r"local_logits: expected 6 prototypes"):
        loss(torch.ones(2, 3, 5), torch.ones(3, 6))
    with pytest.raises(
        ValueError, match=r"global_logits: expected shape \(n, 6\) or .* came \(3, 5\)"
    ):
        loss.update(torch.ones(3, 5))
    with pytest.raises(ValueError, match=r"entropy_weight: expected a finite number, came nan"):
        MutualInformationLoss(entropy_weight=math.nan)
    with pytest.raises(ValueError, match=r"impl: .* came 'fast'"):
        MutualInformationLoss(impl="fast")  # type: ignore[arg-type]


def test_options_are_shown() -> None:
    assert "max_scale=100" in repr(SymmetricInfoNCE())
    assert "entropy_weight=1.1" in repr(MutualInformationLoss(entropy_weight=1.1))
    assert "(targets): Sinkhorn(iterations=3)" in repr(LocalToGlobalLoss(6))
