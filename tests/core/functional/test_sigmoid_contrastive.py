"""The sigmoid loss: the formula, its closed forms, its precision, blocks of any size."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.core import contrast_oracles as oracles
from tests.core.allocations import allocations
from torch import Tensor

from vilseg_core.functional import sigmoid_contrastive_loss
from vilseg_core.functional._pair_statistics import reference_scores
from vilseg_core.ops import Implementation, chunked_sigmoid, sigmoid_loss_sum
from vilseg_core.ops.score_blocks import BLOCK_ROWS

IMPLEMENTATIONS: list[Implementation] = ["reference", "chunked"]


def problem(seed: int, n: int, d: int = 4) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    image, text = torch.randn(2, n, d, dtype=torch.float64, generator=generator)
    return {
        "image": image,
        "text": text,
        "ids": torch.randint(-2, 2, (n,), generator=generator),
        "valid": torch.rand(n, generator=generator) < 0.7,
    }


@given(
    seed=st.integers(0, 1000),
    n=st.integers(0, 7),
    scale=st.floats(0, 20),
    bias=st.floats(-12, 12),
    options=st.sets(st.sampled_from(["ids", "valid"])),
    impl=st.sampled_from(IMPLEMENTATIONS),
)
def test_equals_the_loop(
    seed: int, n: int, scale: float, bias: float, options: set[str], impl: Implementation
) -> None:
    everything = problem(seed, n)
    arguments = {key: everything[key] for key in {"image", "text"} | options}
    batch = oracles.Batch(
        image=everything["image"].tolist(),
        text=everything["text"].tolist(),
        ids=arguments.get("ids", torch.arange(n)).tolist(),
        valid=arguments.get("valid", torch.ones(n, dtype=torch.bool)).tolist(),
    )
    truth = oracles.sigmoid(batch, scale=scale, bias=bias)
    loss = sigmoid_contrastive_loss(**arguments, logit_scale=scale, logit_bias=bias, impl=impl)
    assert loss.item() == pytest.approx(truth, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("options", [[], ["ids"], ["valid"], ["ids", "valid"]], ids=str)
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("n", [0, 1, 5])
def test_gradients(options: list[str], impl: Implementation, n: int) -> None:
    arguments = problem(1, n, 3)
    image, text = (arguments[key].requires_grad_() for key in ("image", "text"))
    numbers = torch.tensor([5.0, -2.0], dtype=torch.float64).unbind()
    scale, bias = (x.clone().requires_grad_() for x in numbers)

    def loss(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        chosen = {key: arguments[key] for key in options}
        return sigmoid_contrastive_loss(
            image, text, logit_scale=scale, logit_bias=bias, impl=impl, **chosen
        )

    assert torch.autograd.gradcheck(loss, (image, text, scale, bias))
    if impl == "reference":
        assert torch.autograd.gradgradcheck(loss, (image, text, scale, bias))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_orthonormal_aligned_pairs(impl: Implementation) -> None:
    basis = torch.eye(6, dtype=torch.float64)
    loss = sigmoid_contrastive_loss(basis, basis, logit_scale=30.0, logit_bias=-10.0, impl=impl)
    truth = math.log1p(math.exp(-20.0)) + 5 * math.log1p(math.exp(-10.0))
    assert loss.item() == pytest.approx(truth, rel=1e-12)


@given(seed=st.integers(0, 1000), n=st.integers(0, 6), impl=st.sampled_from(IMPLEMENTATIONS))
def test_towers_and_norms(seed: int, n: int, impl: Implementation) -> None:
    arguments = problem(seed, n)
    options: dict[str, Any] = {
        "logit_scale": 9.0,
        "logit_bias": -3.0,
        "impl": impl,
        "ids": arguments["ids"],
        "valid": arguments["valid"],
    }
    image, text = arguments["image"], arguments["text"]
    loss = sigmoid_contrastive_loss(image, text, **options)
    torch.testing.assert_close(sigmoid_contrastive_loss(text, 7 * image, **options), loss)


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_matched_pairs_keep_their_digits_in_float32(impl: Implementation, labelled: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    image, noise = torch.randn(2, 512, 512, generator=generator)
    numbers = [torch.tensor(100.0), torch.tensor(-50.0)]
    options: dict[str, Any] = {"ids": torch.arange(512)} if labelled else {}

    def loss_and_gradients(dtype: torch.dtype) -> list[Tensor]:
        inputs = [x.to(dtype).requires_grad_() for x in (image, image + noise / 9, *numbers)]
        loss = sigmoid_contrastive_loss(
            *inputs[:2], logit_scale=inputs[2], logit_bias=inputs[3], impl=impl, **options
        )
        return [loss, *torch.autograd.grad(loss, inputs)]

    found, truth = loss_and_gradients(torch.float32), loss_and_gradients(torch.float64)
    assert 0 < truth[0] < 1e-9
    for ours, exact in zip(found, truth, strict=True):
        assert (ours - exact).norm() <= 1e-4 * exact.norm()


@given(
    seed=st.integers(0, 1000),
    r=st.integers(0, 13),
    first=st.integers(0, 4),
    block=st.integers(1, 15),
    labelled=st.booleans(),
)
def test_blocks_of_part_of_the_rows(
    seed: int, r: int, first: int, block: int, labelled: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(r, 3, dtype=torch.float64, generator=generator).requires_grad_()
    text = torch.randn(r + first + 2, 3, dtype=torch.float64, generator=generator).requires_grad_()
    numbers = torch.tensor([6.0, -2.0], dtype=torch.float64).unbind()
    scale, bias = (x.clone().requires_grad_() for x in numbers)
    options: dict[str, Any] = {}
    right = torch.zeros(r, r + first + 2, dtype=torch.bool)
    right.diagonal(first).fill_(True)
    seen = torch.ones_like(right)
    if labelled:
        rows = torch.randint(-3, 4, (r,), generator=generator)
        columns = torch.randint(-3, 4, (r + first + 2,), generator=generator)
        options = {"row_labels": rows, "column_labels": columns}
        right = (rows[:, None] == columns) & (columns >= 0)
        seen = (rows != -1)[:, None] & (columns != -1)
    scores = reference_scores(image, text, scale) + bias
    losses = torch.log1p(torch.exp(torch.where(right, -scores, scores)))
    truth = losses.where(seen, 0.0).sum()
    found = sigmoid_loss_sum(image, text, scale, bias, first=first, block=block, **options)
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-13)
    inputs = (image, text, scale, bias)
    for ours, exact in zip(
        torch.autograd.grad(3 * found, inputs), torch.autograd.grad(3 * truth, inputs), strict=True
    ):
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-12)


# opcheck itself reads .grad of what it has computed.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("r", [5, 0])
@pytest.mark.parametrize("labelled", [False, True])
def test_the_operator_is_registered_in_full(r: int, labelled: bool) -> None:
    image, text = torch.randn(r, 3, requires_grad=True), torch.randn(r + 2, 3, requires_grad=True)
    scale, bias = torch.tensor(6.0, requires_grad=True), torch.tensor(-2.0, requires_grad=True)
    labels = (torch.arange(r) // 2, torch.arange(r + 2) - 1) if labelled else (None, None)
    arguments = (image, text, scale, bias, *labels, 1, 2)
    torch.library.opcheck(chunked_sigmoid._loss_sum, arguments)


@pytest.mark.parametrize("n", [1024, 2048])
@pytest.mark.parametrize("labelled", [False, True])
def test_memory_grows_with_n_and_not_with_its_square(n: int, labelled: bool) -> None:
    image, text = torch.randn(2, n, 8)
    image.requires_grad_()
    options: dict[str, Any] = {"ids": torch.arange(n) // 2} if labelled else {}

    def step(impl: Implementation) -> list[int]:
        def run() -> None:
            loss = sigmoid_contrastive_loss(
                image, text, logit_scale=10.0, logit_bias=-10.0, impl=impl, **options
            )
            torch.autograd.grad(loss, image)

        return allocations(run)

    assert max(step("reference")) >= 4 * n * n
    assert max(step("chunked")) <= 4 * n * BLOCK_ROWS


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_without_a_valid_pair_the_loss_is_zero_and_nan_unseen(impl: Implementation) -> None:
    image = torch.full((3, 4), torch.nan, requires_grad=True)
    loss = sigmoid_contrastive_loss(
        image,
        torch.ones(3, 4),
        logit_scale=10.0,
        logit_bias=-10.0,
        valid=torch.zeros(3, dtype=torch.bool),
        impl=impl,
    )
    (gradient,) = torch.autograd.grad(loss, image)
    assert loss.item() == 0.0
    assert torch.equal(gradient, torch.zeros(3, 4))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_feature_that_is_not_finite_shows_in_the_loss(impl: Implementation, value: float) -> None:
    image = torch.ones(3, 4)
    image[1, 2] = value
    loss = sigmoid_contrastive_loss(
        image, torch.ones(3, 4), logit_scale=10.0, logit_bias=0.0, impl=impl
    )
    assert not loss.isfinite()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": torch.ones(4, 4)}, r"image, text: .* came \(3, 4\) and \(4, 4\); pass one row"),
        ({"image": torch.ones(3)}, r"image, text: expected two tensors of one shape \(n, d\)"),
        ({"image": torch.ones(3, 4).int()}, r"image: .* came torch.int32; convert"),
        ({"text": torch.ones(3, 4, dtype=torch.cfloat)}, r"text: .* came torch.complex64"),
        ({"text": torch.ones(3, 4, device="meta")}, r"text: .* on 'cpu', like image, came .*meta"),
        ({"logit_bias": torch.ones((), device="meta")}, r"logit_bias: .* came one on 'meta'; move"),
        ({"logit_bias": torch.ones((), dtype=torch.int64)}, r"logit_bias: .* came torch.int64"),
        ({"logit_scale": -1.0}, r"logit_scale: expected a finite number >= 0, came -1.0"),
        ({"logit_bias": math.inf}, r"logit_bias: expected a finite number, came inf; -10 is"),
        ({"logit_bias": torch.ones(1)}, r"logit_bias: .* shape \(1,\); reshape it"),
        ({"ids": torch.ones(3)}, r"ids: expected integers, came torch.float32"),
        ({"valid": torch.ones(2) > 0}, r"valid: expected shape \(3,\), came \(2,\)"),
        ({"impl": "fast"}, r"impl: expected one of 'auto', .* came 'fast'"),
        ({"impl": "triton"}, r"impl: 'triton' does not serve this call"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "image": torch.ones(3, 4),
        "text": torch.ones(3, 4),
        "logit_scale": 10.0,
        "logit_bias": -10.0,
    }
    with pytest.raises(ValueError, match=message):
        sigmoid_contrastive_loss(**(arguments | changes))
