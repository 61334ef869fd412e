import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.train.conftest import tiny_config
from torch import nn

from vilseg_core import SymmetricInfoNCE
from vilseg_core.models import build_model
from vilseg_train.optim import (
    OptimConfig,
    build_optimizer,
    learning_rate_factor,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)


@given(
    total=st.integers(1, 500),
    warmup=st.integers(0, 600),
    final=st.floats(0, 1),
    data=st.data(),
)
def test_schedule_is_warm_up_then_cosine(
    total: int, warmup: int, final: float, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, total - 1))
    factor = learning_rate_factor(step, total, warmup=warmup, final_share=final)
    if step < warmup:
        expected = (step + 1) / warmup
    else:
        angle = math.pi * (step - warmup) / (total - warmup)
        expected = final + (1 - final) * (1 + math.cos(angle)) / 2
    assert factor == pytest.approx(expected)
    assert 0 <= factor <= 1
    if step >= warmup:
        later = learning_rate_factor(step + 1, total, warmup=warmup, final_share=final)
        assert later <= factor


def test_schedule_meets_its_ends() -> None:
    assert learning_rate_factor(0, 100, warmup=10) == pytest.approx(0.1)
    assert learning_rate_factor(9, 100, warmup=10) == 1.0
    assert learning_rate_factor(10, 100, warmup=10) == 1.0
    assert learning_rate_factor(55, 100, warmup=10, final_share=0.2) == pytest.approx(0.6)
    assert learning_rate_factor(100, 100, warmup=10, final_share=0.2) == pytest.approx(0.2)


def _modules() -> dict[str, nn.Module]:
    text = "model.text.layers=1", "model.text.heads=2", "model.text.vocab_size=300"
    config = tiny_config(*text, "model.text.end_of_text=2", "model.image.options.class_token=true")
    return {"model": build_model(config.model), "objectives": SymmetricInfoNCE()}


def test_groups_hold_every_parameter_once_with_its_own_rate_and_decay() -> None:
    modules = _modules()
    config = OptimConfig(lr=1.0, head_lr=3.0, weight_decay=0.5)
    groups = build_optimizer(modules, config).param_groups
    names = [name for group in groups for name in group["names"]]
    everything = {f"{p}.{n}": v for p, m in modules.items() for n, v in m.named_parameters()}
    assert sorted(names) == sorted(everything)
    for group in groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            assert parameter is everything[name]
            assert group["lr"] == (3.0 if "clustering_head" in name else 1.0), name
            spared = name.endswith(("bias", "logit_scale", "pos_embed", "cls_token")) or any(
                part in name for part in ("norm", "ln_", "positional")
            )
            # GroupNorm of the stem has no name of its own.
            spared = spared or parameter.ndim == 1
            assert group["weight_decay"] == (0.0 if spared else 0.5), name
    decayed = {n for g in groups if g["weight_decay"] for n in g["names"]}
    assert "model.text_encoder.token_embedding.weight" in decayed
    assert "model.clustering_head.heads.0.0.weight" in decayed
    assert "objectives.logit_scale" not in decayed


def test_without_a_rate_of_its_own_the_head_has_that_of_the_encoders() -> None:
    optimizer = build_optimizer(_modules(), OptimConfig(lr=1.0, warmup_steps=10))
    assert set_learning_rate(optimizer, OptimConfig(lr=1.0, warmup_steps=10), step=0, total=20) == (
        pytest.approx(0.1)
    )
    assert {group["lr"] for group in optimizer.param_groups} == {0.1}


def test_frozen_parameters_are_left_out() -> None:
    module = nn.Linear(2, 2)
    module.weight.requires_grad_(False)
    [group] = build_optimizer({"m": module}, OptimConfig()).param_groups
    assert group["names"] == ["m.bias"]


def test_state_moves_to_another_optimizer_exactly() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    second.load_state_dict(first.state_dict())
    config = OptimConfig()
    a = build_optimizer({"m": first}, config)
    inputs = torch.randn(4, 5, 3)
    for batch in inputs[:2]:
        a.zero_grad()
        first(batch).square().sum().backward()
        a.step()
    second.load_state_dict(first.state_dict())
    b = build_optimizer({"m": second}, config)
    load_optimizer_tensors(b, optimizer_tensors(a))
    for batch in inputs[2:]:
        for module, optimizer in ((first, a), (second, b)):
            optimizer.zero_grad()
            module(batch).square().sum().backward()
            optimizer.step()
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


def test_state_that_does_not_fit_is_refused() -> None:
    optimizer = build_optimizer({"m": nn.Linear(3, 2)}, OptimConfig())
    with pytest.raises(ValueError, match=r"names 'm\.other', which this model does not have"):
        load_optimizer_tensors(optimizer, {"exp_avg/m.other": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"exp_avg of m.bias has shape \(3,\), expected \(2,\)"):
        load_optimizer_tensors(optimizer, {"exp_avg/m.bias": torch.zeros(3)})


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, -0.1)])
def test_betas_out_of_range_are_refused(betas: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"betas: expected two numbers in \[0, 1\)"):
        OptimConfig(betas=betas)
