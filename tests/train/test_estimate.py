"""What a step is said to cost, against layers whose cost is known and the model that is built."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.train.conftest import tiny_config
from torch import nn

from vilseg_core.functional import symmetric_info_nce
from vilseg_core.models import build_model
from vilseg_train.estimate import (
    Work,
    contrast_work,
    count,
    estimate,
    meta_model,
    planned_model,
    step_work,
    wire_bytes,
)

PLAN = estimate(tiny_config())


def meta(*shape: int, learns: bool = True) -> torch.Tensor:
    return torch.empty(shape, device="meta", requires_grad=learns)


@settings(deadline=None, max_examples=10)
@given(rows=st.integers(1, 9), inputs=st.integers(1, 9), outputs=st.integers(1, 9))
def test_a_linear_layer_costs_one_product_forward_and_two_backward(
    rows: int, inputs: int, outputs: int
) -> None:
    with torch.device("meta"):
        layer = nn.Linear(inputs, outputs)
    product = 2 * rows * inputs * outputs
    work = count(lambda: layer(meta(rows, inputs)), model=layer)
    assert work == Work(product, 2 * product, 4 * rows * inputs)
    first = count(lambda: layer(meta(rows, inputs, learns=False)), model=layer)
    assert first.backward == product


def test_contrast_costs_what_torch_counts_for_the_plain_formula() -> None:
    image, text = meta(12, 5), meta(12, 5)
    measured = count(
        lambda: symmetric_info_nce(image, text, logit_scale=10.0, impl="reference"),
        model=nn.Identity(),
    )
    assert contrast_work(12, 12, dim=5).flop == measured.flop


def test_parameters_are_those_of_the_built_model() -> None:
    config = tiny_config()
    built = build_model(planned_model(config))
    assert sum(PLAN.parameters.values()) == sum(p.numel() for p in built.parameters())
    assert PLAN.parameters["text_encoder"] == sum(
        p.numel() for p in built.text_encoder.parameters()
    )
    assert PLAN.memory["weights"] == 4 * sum(p.numel() for p in built.parameters())


def test_the_paper_has_the_papers_parameters() -> None:
    from vilseg_train import load_config
    from vilseg_train.card import count_parameters

    config = load_config("paper")
    numbers = count_parameters(meta_model(planned_model(config)))
    assert numbers["image_encoder"] == 86_192_640
    assert numbers["clustering_head"] == 76_950
    assert (config.train.processes, config.train.batch_size) == (48, 768)


def test_the_total_is_the_sum_of_the_parts() -> None:
    total = PLAN.total_work
    assert total.flop == sum(part.flop for part in PLAN.work.values()) > 0
    assert total.kept == PLAN.memory["kept for the backward pass"]


def test_work_grows_with_the_images_and_not_with_the_processes() -> None:
    config = tiny_config()
    model = meta_model(planned_model(config))
    one, three = (step_work(model, config, images=n) for n in (2, 6))
    many = step_work(model, config, images=2, processes=4)
    for name in one:
        if name != "contrast":
            assert three[name].flop == 3 * one[name].flop, name
            assert many[name] == one[name]
    assert three["contrast"].flop == 9 * one["contrast"].flop
    assert many["contrast"].flop == 4 * one["contrast"].flop


@pytest.mark.parametrize(
    ("override", "gone"),
    [
        ("loss.cross=0", "text encoder"),
        ("loss.vision=0", "image encoder, local views"),
        ("loss.cluster=0", "image encoder, changed view"),
    ],
)
def test_a_loss_that_is_off_costs_nothing(override: str, gone: str) -> None:
    assert gone in PLAN.work
    assert gone not in estimate(tiny_config(override)).work


def test_the_changed_view_is_learnt_from_only_where_the_encoder_is() -> None:
    name = "image encoder, changed view"
    assert PLAN.work[name].backward == PLAN.work[name].kept == 0
    taught = estimate(tiny_config("loss.cluster_gradient=encoder")).work[name]
    assert taught == PLAN.work["image encoder, global view"]


@settings(deadline=None, max_examples=10)
@given(processes=st.integers(2, 64), trainable=st.integers(1, 1000))
def test_a_ring_sends_each_gradient_twice_around(processes: int, trainable: int) -> None:
    sent: dict[str, Any] = wire_bytes(
        tiny_config(), images=3, processes=processes, trainable=processes * trainable
    )
    together = processes * sent["gradients, all-reduced"]
    assert together == 2 * (processes - 1) * 4 * processes * trainable
    assert wire_bytes(tiny_config(), images=3, processes=1, trainable=trainable) == {}


def test_accumulation_repeats_a_smaller_batch() -> None:
    halves = estimate(tiny_config("train.accumulate=2"))
    assert (halves.images, PLAN.images) == (4, 8)
    for name, part in halves.work.items():
        if name != "contrast":
            assert part.flop == PLAN.work[name].flop, name
            assert part.kept <= PLAN.work[name].kept
    assert 2 * halves.work["contrast"].flop == PLAN.work["contrast"].flop


def test_caching_encodes_twice_and_keeps_a_chunk() -> None:
    cached = estimate(tiny_config("train.cache_chunk=2"))
    for name, part in cached.work.items():
        plain = PLAN.work[name]
        if "encoder" in name:
            assert (part.forward, part.backward) == (2 * plain.forward, plain.backward)
            assert part.kept == plain.kept // 4
        else:
            assert part == plain


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train\.batch_size: expected a multiple of 3 processes"):
        estimate(tiny_config(), processes=3)
