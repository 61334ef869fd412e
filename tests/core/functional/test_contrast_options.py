"""InfoNCE with its options, one by one and together: the formula, its symmetries, its digits."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.core import contrast_oracles as oracles
from torch import Tensor

from vilseg_core.functional import ContrastStatistics, symmetric_info_nce
from vilseg_core.functional.info_nce import Direction
from vilseg_core.ops import Implementation

IMPLEMENTATIONS: list[Implementation] = ["reference", "chunked"]
OPTIONS = ("ids", "valid", "label_smoothing", "image_negatives", "text_negatives")


def problem(seed: int, n: int, d: int = 4) -> dict[str, Any]:
    """Features and every option."""
    generator = torch.Generator().manual_seed(seed)
    image, text, extra = torch.randn(3, n, d, dtype=torch.float64, generator=generator)
    return {
        "image": image,
        "text": text,
        # Any integers: negative, large, far apart.
        "ids": torch.randint(-2, 2, (n,), generator=generator) * 2**61,
        "valid": torch.rand(n, generator=generator) < 0.7,
        "label_smoothing": 0.1,
        "image_negatives": extra[: n // 2],
        "text_negatives": extra[: n - 1 if n else 0].flip(1),
    }


def asked(everything: dict[str, Any], options: set[str]) -> dict[str, Any]:
    return {key: value for key, value in everything.items() if key in options | {"image", "text"}}


def as_batch(arguments: dict[str, Any]) -> oracles.Batch:
    n = arguments["image"].shape[0]
    lists: dict[str, Any] = {
        key: value.tolist() if isinstance(value, Tensor) else value
        for key, value in ({"ids": torch.arange(n), "valid": [True] * n} | arguments).items()
        if key != "label_smoothing"
    }
    return oracles.Batch(**lists)


@given(
    seed=st.integers(0, 1000),
    n=st.integers(0, 7),
    scale=st.floats(0, 20),
    options=st.sets(st.sampled_from(OPTIONS)),
    impl=st.sampled_from(IMPLEMENTATIONS),
)
def test_equals_the_loop(
    seed: int, n: int, scale: float, options: set[str], impl: Implementation
) -> None:
    arguments = asked(problem(seed, n), options)
    batch = as_batch(arguments)
    smoothing = arguments.get("label_smoothing", 0.0)
    forth = oracles.image_to_text(batch, scale=scale, smoothing=smoothing)
    back = oracles.image_to_text(batch.swapped(), scale=scale, smoothing=smoothing)
    ways: dict[Direction, float] = {
        "both": (forth + back) / 2,
        "image_to_text": forth,
        "text_to_image": back,
    }
    for direction, truth in ways.items():
        loss, found = symmetric_info_nce(
            **arguments, logit_scale=scale, direction=direction, impl=impl, return_statistics=True
        )
        assert loss.item() == pytest.approx(truth, rel=1e-9, abs=1e-12)
        plain = symmetric_info_nce(**arguments, logit_scale=scale, direction=direction, impl=impl)
        assert torch.equal(plain, loss)
        if scale > 1e-3:
            # Below, what is best is decided by rounding.
            truths = oracles.statistics(batch, scale=scale)
            assert [x.item() for x in found] == pytest.approx(truths, rel=1e-9, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{option} for option in OPTIONS] + [set(OPTIONS)], ids=[*OPTIONS, "all"]
)
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("direction", ["both", "image_to_text", "text_to_image"])
def test_gradients(options: set[str], impl: Implementation, direction: Direction) -> None:
    everything = problem(1, 4, 3)
    everything["valid"][:3] = torch.tensor([True, True, False])
    arguments = asked(everything, options)
    wanted = [key for key in arguments if key.endswith(("image", "text", "negatives"))]
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)

    def loss(scale: Tensor, *tensors: Tensor) -> Tensor:
        changed = arguments | dict(zip(wanted, tensors, strict=True))
        found: Tensor = symmetric_info_nce(
            **changed, logit_scale=scale, direction=direction, impl=impl
        )
        return found

    inputs = (scale, *(arguments[key].clone().requires_grad_() for key in wanted))
    assert torch.autograd.gradcheck(loss, inputs)
    if impl == "reference" and len(options) > 1 and direction == "both":
        assert torch.autograd.gradgradcheck(loss, inputs)


def gradients(arguments: dict[str, Any], **options: Any) -> list[Tensor]:
    arguments = dict(arguments)
    features = [key for key in arguments if key.endswith(("image", "text", "negatives"))]
    for key in features:
        arguments[key] = arguments[key].detach().clone().requires_grad_()
    loss = symmetric_info_nce(**arguments, **options)
    return [loss, *torch.autograd.grad(loss, [arguments[key] for key in features])]


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_different_ids_all_valid_and_no_negatives_change_nothing(impl: Implementation) -> None:
    arguments = asked(problem(0, 6), set())
    idle = {
        "ids": torch.tensor([5, -3, 2**62, 0, -(2**62), 7]),
        "valid": torch.ones(6, dtype=torch.bool),
        "image_negatives": torch.ones(0, 4),
        "text_negatives": torch.ones(0, 4),
    }
    plain = gradients(arguments, logit_scale=9.0, impl=impl)
    found = gradients(arguments | idle, logit_scale=9.0, impl=impl)
    for ours, exact in zip(found, plain, strict=False):
        torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_what_is_not_valid_might_as_well_not_be_there(impl: Implementation) -> None:
    arguments = problem(2, 7)
    valid = torch.tensor([True, False, True, True, False, True, True])
    arguments["valid"] = valid
    broken = dict(arguments)
    for key in ("image", "text"):
        broken[key] = arguments[key].clone()
        broken[key][~valid] = torch.nan
    kept = dict(arguments)
    for key in ("image", "text", "ids", "valid"):
        kept[key] = arguments[key][valid]
    found = gradients(broken, logit_scale=9.0, impl=impl)
    truth = gradients(kept, logit_scale=9.0, impl=impl)
    for i, side in ((1, "image"), (2, "text")):
        assert torch.equal(found[i][~valid], torch.zeros_like(found[i][~valid])), side
        found[i] = found[i][valid]
    for ours, exact in zip(found, truth, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_without_a_valid_pair_the_loss_is_zero(impl: Implementation) -> None:
    arguments = problem(2, 4) | {"valid": torch.zeros(4, dtype=torch.bool)}
    for found in gradients(arguments, logit_scale=9.0, impl=impl):
        assert torch.equal(found, torch.zeros_like(found))
    _, statistics = symmetric_info_nce(
        **arguments, logit_scale=9.0, impl=impl, return_statistics=True
    )
    assert torch.stack(list(statistics)).tolist() == [0.0] * 4


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_only_positives_leave_the_spread_of_their_scores(impl: Implementation) -> None:
    same = torch.ones(3, 2, dtype=torch.float64)
    loss = symmetric_info_nce(
        same, same, logit_scale=5.0, ids=torch.zeros(3, dtype=torch.int32), impl=impl
    )
    assert loss.item() == pytest.approx(math.log(3), rel=1e-12)


@given(seed=st.integers(0, 1000), n=st.integers(1, 7), impl=st.sampled_from(IMPLEMENTATIONS))
def test_swapping_the_towers_swaps_the_directions(seed: int, n: int, impl: Implementation) -> None:
    arguments = problem(seed, n)
    swapped = arguments | {
        "image": arguments["text"],
        "text": arguments["image"],
        "image_negatives": arguments["text_negatives"],
        "text_negatives": arguments["image_negatives"],
    }
    loss, found = symmetric_info_nce(
        **arguments, logit_scale=7.0, impl=impl, direction="image_to_text", return_statistics=True
    )
    other, mirrored = symmetric_info_nce(
        **swapped, logit_scale=7.0, impl=impl, direction="text_to_image", return_statistics=True
    )
    torch.testing.assert_close(other, loss)
    torch.testing.assert_close(mirrored.accuracy_text_to_image, found.accuracy_image_to_text)
    torch.testing.assert_close(mirrored.hardest_negative_logit, found.hardest_negative_logit)


@pytest.mark.parametrize("option", [None, "ids", "valid", "label_smoothing", "negatives"])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_matched_pairs_keep_their_digits_in_float32(
    option: str | None, impl: Implementation
) -> None:
    generator = torch.Generator().manual_seed(0)
    image, noise, extra = torch.randn(3, 512, 512, generator=generator)
    features = [image, image + noise, torch.tensor(100.0)]
    choices: dict[str | None, dict[str, Any]] = {
        "ids": {"ids": torch.arange(512)},
        "valid": {"valid": torch.arange(512) % 5 > 0},
        "label_smoothing": {"label_smoothing": 0.1},
        "negatives": {"image_negatives": extra[:99], "text_negatives": extra[99:]},
    }
    options = choices.get(option, {})

    def loss_and_gradients(dtype: torch.dtype) -> list[Tensor]:
        inputs = [x.to(dtype).requires_grad_() for x in features]
        loss = symmetric_info_nce(*inputs[:2], logit_scale=inputs[2], impl=impl, **options)
        return [loss, *torch.autograd.grad(loss, inputs)]

    found, truth = loss_and_gradients(torch.float32), loss_and_gradients(torch.float64)
    if option != "label_smoothing":
        assert 0 < truth[0] < 1e-6
    for name, ours, exact in zip(["loss", "image", "text", "scale"], found, truth, strict=True):
        error = ((ours - exact).norm() / exact.norm()).item()
        assert error <= 1e-4, f"{name}: relative error {error:.1e}"


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("place", ["image", "text", "image_negatives", "text_negatives"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_feature_that_is_not_finite_shows_in_the_loss(
    impl: Implementation, place: str, value: float
) -> None:
    options = {place} if place.endswith("negatives") else set()
    arguments = asked(problem(0, 5), options)
    arguments[place][1, 2] = value
    assert not symmetric_info_nce(**arguments, logit_scale=9.0, impl=impl).isfinite()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("options", [set(), {"ids", "text_negatives"}], ids=["none", "two"])
def test_statistics_carry_no_gradient(impl: Implementation, options: set[str]) -> None:
    arguments = asked(problem(0, 5), options)
    arguments["image"].requires_grad_()
    loss, statistics = symmetric_info_nce(
        **arguments, logit_scale=9.0, impl=impl, return_statistics=True
    )
    assert isinstance(statistics, ContrastStatistics)
    assert loss.requires_grad
    assert all(x.ndim == 0 and not x.requires_grad for x in statistics)


def test_a_collapsed_batch_finds_nothing() -> None:
    same = torch.ones(4, 3)
    _, statistics = symmetric_info_nce(same, same, logit_scale=2.0, return_statistics=True)
    assert statistics.accuracy_image_to_text.item() == 0.0
    assert statistics.accuracy_text_to_image.item() == 0.0
    assert statistics.positive_logit.item() == pytest.approx(2.0)
    assert statistics.hardest_negative_logit.item() == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": torch.ones(3)}, r"ids: expected integers, came torch.float32; pass one int64"),
        ({"ids": torch.ones(3, dtype=torch.bool)}, r"ids: expected integers, came torch.bool"),
        ({"ids": torch.arange(4)}, r"ids: expected shape \(3,\), came \(4,\); pass one value"),
        ({"valid": torch.ones(3)}, r"valid: expected booleans, came torch.float32; convert it"),
        ({"valid": torch.ones(3, 1) > 0}, r"valid: expected shape \(3,\), came \(3, 1\)"),
        ({"label_smoothing": 1.0}, r"label_smoothing: expected 0 <= share < 1, came 1.0"),
        ({"label_smoothing": -0.1}, r"label_smoothing: .* came -0.1; 0.1 is customary"),
        ({"label_smoothing": math.nan}, r"label_smoothing: .* came nan"),
        ({"text_negatives": torch.ones(4)}, r"text_negatives: expected shape \(m, 4\), came \(4,"),
        ({"image_negatives": torch.ones(2, 3)}, r"image_negatives: .* came \(2, 3\); pass one row"),
        ({"image_negatives": torch.ones(2, 4).int()}, r"image_negatives: .* came torch.int32"),
        (
            {"image": torch.ones(3, 4, dtype=torch.cfloat)},
            r"image: expected a floating.* came torch.complex",
        ),
        ({"logit_scale": torch.ones((), dtype=torch.cfloat)}, r"logit_scale: .* torch.complex64"),
        ({"logit_scale": torch.ones((), device="meta")}, r"logit_scale: .*'cpu', .*'meta'; move"),
        (
            {"text": torch.ones(3, 4, device="meta")},
            r"text: .* on 'cpu', like image, came .*'meta'",
        ),
        ({"ids": torch.ones(3, device="meta").int()}, r"ids: expected a tensor on 'cpu'"),
        ({"valid": torch.ones(3, device="meta") > 0}, r"valid: expected a tensor on 'cpu'"),
        ({"text_negatives": torch.ones(3, 4, device="meta")}, r"text_negatives: .* on 'cpu'"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"image": torch.ones(3, 4), "text": torch.ones(3, 4)}
    with pytest.raises(ValueError, match=message):
        symmetric_info_nce(**({"logit_scale": 10.0} | arguments | changes))
