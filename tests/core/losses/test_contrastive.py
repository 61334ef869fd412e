"""The contrastive modules: their options reach the functions, their state can be learnt."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vilseg_core import SigmoidContrastiveLoss, SymmetricInfoNCE, functional


def pairs(n: int, d: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image, text = torch.randn(2, n, d, generator=generator)
    return image, text


def test_info_nce_hands_its_options_on() -> None:
    image, text = pairs(5, 4)
    options: dict[str, Any] = {
        "ids": torch.tensor([0, 1, 0, 2, 3]),
        "valid": torch.tensor([True, True, True, True, False]),
        "image_negatives": text[:2],
        "text_negatives": image[:3],
        "return_statistics": True,
    }
    loss, statistics = SymmetricInfoNCE(0.2, label_smoothing=0.3)(image, text, **options)
    truth, expected = functional.symmetric_info_nce(
        image, text, logit_scale=5.0, label_smoothing=0.3, **options
    )
    torch.testing.assert_close(loss, truth)
    torch.testing.assert_close(list(statistics), list(expected))


@pytest.mark.parametrize("learnable", [True, False])
def test_sigmoid_is_the_function_at_its_scale_and_bias(learnable: bool) -> None:
    image, text = pairs(5, 4)
    options: dict[str, Any] = {
        "ids": torch.tensor([0, 1, 0, 2, 3]),
        "valid": torch.arange(5) > 0,
    }
    loss = SigmoidContrastiveLoss(0.2, bias=-3.0, learnable=learnable)
    truth = functional.sigmoid_contrastive_loss(
        image, text, logit_scale=5.0, logit_bias=-3.0, **options
    )
    torch.testing.assert_close(loss(image, text, **options), truth)
    assert list(loss.state_dict()) == ["logit_scale", "logit_bias"]
    assert len(list(loss.parameters())) == 2 * learnable
    assert "max_scale=100" in repr(loss)


def test_sigmoid_starts_where_its_authors_do() -> None:
    loss = SigmoidContrastiveLoss()
    assert loss.scale().item() == pytest.approx(10.0)
    assert loss.logit_bias.item() == -10.0


@pytest.mark.parametrize("value", [0.0, 9.0])
@pytest.mark.parametrize("kind", [SymmetricInfoNCE, SigmoidContrastiveLoss])
def test_a_gradient_can_be_asked_for_as_a_function_of_the_state(
    kind: type[torch.nn.Module], value: float
) -> None:
    image, text = pairs(5, 4)
    loss = kind(impl="reference")
    state = dict(loss.named_parameters()) | {"logit_scale": torch.tensor(value)}

    def of_state(state: dict[str, Tensor], image: Tensor) -> Tensor:
        value: Tensor = torch.func.functional_call(loss, state, (image, text))
        return value

    found, of_image = torch.func.grad(of_state, argnums=(0, 1))(state, image)
    inputs = {key: x.detach().clone().requires_grad_() for key, x in state.items()}
    image.requires_grad_()
    truth = torch.autograd.grad(of_state(inputs, image), [*inputs.values(), image])
    for ours, exact in zip([*found.values(), of_image], truth, strict=True):
        torch.testing.assert_close(ours, exact)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (SymmetricInfoNCE, {"label_smoothing": 1.5}, r"label_smoothing: .* came 1.5; 0.1 is"),
        (SigmoidContrastiveLoss, {"bias": math.nan}, r"bias: expected a finite number, came nan"),
        (SigmoidContrastiveLoss, {"temperature": 0.001}, r"temperature: .* came 0.001; raise"),
        (SigmoidContrastiveLoss, {"impl": "fast"}, r"impl: expected one of 'auto', 'reference'"),
    ],
)
def test_refusals(kind: type[torch.nn.Module], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**arguments)
