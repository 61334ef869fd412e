"""The chunked path of the joint: blocks of any size, of any layout, give the reference."""

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.core.allocations import allocations
from torch import Tensor

from vilseg_core.functional import joint_matrix, mutual_information_loss
from vilseg_core.ops import (
    Implementation,
    choose_implementation,
    chunked_moments,
    moments,
)
from vilseg_core.ops.block_rooms import INNERMOST_FROM
from vilseg_core.ops.dispatch import CHUNKED_FROM


def problem(seed: int, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    pixels = (shape[0], *shape[2:])
    weights = torch.rand(pixels, dtype=torch.float64, generator=generator)
    return a.requires_grad_(), b.requires_grad_(), weights.requires_grad_()


@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(*(st.integers(0, 4), st.integers(1, 6), st.integers(1, 5), st.integers(1, 7))),
    pixels=st.integers(1, 200),
    masked=st.booleans(),
    learned=st.booleans(),
    orders=st.tuples(st.permutations(range(4)), st.permutations(range(4))),
    many=st.booleans(),
)
def test_moments_equal_those_of_all_pixels_at_once(
    seed: int,
    shape: tuple[int, int, int, int],
    pixels: int,
    masked: bool,
    learned: bool,
    orders: tuple[list[int], list[int]],
    many: bool,
) -> None:
    if many:
        shape = (shape[0], shape[1] + INNERMOST_FROM, *shape[2:])
    a, b, weights = problem(seed, *shape)
    # Dimensions lie in memory in any order, each side's own.
    a, b = (
        x.detach().permute(order).contiguous().permute(*torch.tensor(order).argsort().tolist())
        for x, order in zip((a, b), orders, strict=True)
    )
    a, b = a.requires_grad_(), b.requires_grad_()
    weights.requires_grad_(learned)
    inputs = (a, b, weights) if masked and learned else (a, b)
    found = moments(a, b, channel_dim=1, weights=weights if masked else None, pixels=pixels)
    rows = [x.movedim(1, -1).reshape(-1, shape[1]).softmax(1) for x in (a, b)]
    p, q = (torch.cat([x, torch.ones_like(x[:, :1])], dim=1) for x in rows)
    truth = (p * weights.reshape(-1, 1) if masked else p).T @ q
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-13)
    grad = torch.randn(truth.shape, dtype=torch.float64)
    for ours, exact in zip(
        torch.autograd.grad(found, inputs, grad),
        torch.autograd.grad(truth, inputs, grad),
        strict=True,
    ):
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("clusters", [2, 6, 40])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layout", ["rows", "grid", "both"])
def test_a_graph_that_is_kept_gives_its_gradients_again(
    layout: str, masked: bool, clusters: int
) -> None:
    """The first backward pass uses assignments up that the second has to compute again."""
    a, b, weights = problem(0, 20, clusters, 3)
    # Clusters innermost, clusters first, and one of each.
    inputs = [
        x.detach().movedim(1, -1).contiguous().movedim(-1, 1).requires_grad_()
        if layout == "rows" or (layout == "both" and x is a)
        else x
        for x in (a, b)
    ]
    if masked:
        inputs.append(weights)
    mask = weights if masked else None
    ours = mutual_information_loss(inputs[0], inputs[1], mask=mask, impl="chunked")
    exact = mutual_information_loss(inputs[0], inputs[1], mask=mask, impl="reference")
    torch.testing.assert_close(ours, exact)
    truth = torch.autograd.grad(exact, inputs)
    first = torch.autograd.grad(ours, inputs, retain_graph=True)
    copies = [x.clone() for x in first]
    second = torch.autograd.grad(ours, inputs, retain_graph=True)
    assert all(torch.equal(x, y) for x, y in zip(first, copies, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    torch.testing.assert_close(first, truth)
    with torch.no_grad():
        plain = mutual_information_loss(inputs[0], inputs[1], mask=mask, impl="chunked")
    assert torch.equal(plain, ours)


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_one_input_alone_may_ask_for_its_gradient(wanted: int) -> None:
    inputs = [x.detach() for x in problem(0, 20, 6, 3)]
    inputs[wanted].requires_grad_()
    a, b, mask = inputs

    def gradient(impl: Implementation) -> Tensor:
        loss = mutual_information_loss(a, b, mask=mask, impl=impl)
        return torch.autograd.grad(loss, inputs[wanted])[0]

    torch.testing.assert_close(gradient("chunked"), gradient("reference"))


@pytest.mark.parametrize("large", [80.0, 1e4])
def test_large_logits_overflow_nowhere(large: float) -> None:
    a, b = torch.randn(2, 50, 6, generator=torch.Generator().manual_seed(0))
    a[7, 2], b[9, 4] = large, -large
    inputs = a.requires_grad_(), b.requires_grad_()
    ours = mutual_information_loss(*inputs, impl="chunked")
    exact = mutual_information_loss(*inputs, impl="reference")
    torch.testing.assert_close(ours, exact)
    torch.testing.assert_close(
        torch.autograd.grad(ours, inputs), torch.autograd.grad(exact, inputs)
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("pixels", [1, 3, 4, 100])
def test_gradients_across_blocks(pixels: int, masked: bool) -> None:
    def function(a: Tensor, b: Tensor, weights: Tensor | None = None) -> Tensor:
        return moments(a, b, channel_dim=1, weights=weights, pixels=pixels)

    inputs = problem(0, 2, 3, 2, 3)
    assert torch.autograd.gradcheck(function, inputs if masked else inputs[:2])


@pytest.mark.parametrize("layout", ["channels first", "channels last", "sliced", "expanded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_layout_and_dtype_is_read_in_place(
    layout: Literal["channels first", "channels last", "sliced", "expanded"], dtype: torch.dtype
) -> None:
    a, b = (x.detach().to(dtype) for x in problem(0, 4, 5, 6, 10)[:2])
    truth = mutual_information_loss(a.double(), b.double(), impl="reference").float()
    if layout == "channels last":
        a, b = (x.contiguous(memory_format=torch.channels_last) for x in (a, b))
    elif layout == "sliced":
        a, b = (torch.stack([x, x], dim=-1)[..., 0] for x in (a, b))
    elif layout == "expanded":
        a, b = a[:1].expand(4, -1, -1, -1), b[:1].expand(4, -1, -1, -1)
        truth = mutual_information_loss(a[:1].double(), b[:1].double(), impl="reference").float()
    loss = mutual_information_loss(a.requires_grad_(), b, impl="chunked")
    torch.testing.assert_close(loss, truth, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(loss, a)
    (exact,) = torch.autograd.grad(mutual_information_loss(a, b, impl="reference"), a)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient, exact, rtol=2e-2, atol=1e-6)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("masked", [False, True])
def test_the_operators_are_registered_in_full(masked: bool) -> None:
    a, b, _ = problem(0, 3, 2, 4)
    weights = torch.rand(2, 4, dtype=torch.float64).requires_grad_() if masked else None
    torch.library.opcheck(chunked_moments._moments, (a, b, weights, 3))


@pytest.mark.parametrize("masked", [False, True])
def test_memory_beyond_the_gradients_is_a_few_blocks(masked: bool) -> None:
    a, b = torch.randn(2, 64, 32, 32, 32)
    a.requires_grad_()
    mask = torch.rand(64, 32, 32) if masked else None

    def step(impl: Implementation) -> list[int]:
        def run() -> None:
            loss = mutual_information_loss(a, b, mask=mask, impl=impl)
            torch.autograd.grad(loss, a)

        return allocations(run)

    whole, block = 4 * a.numel(), 4 * chunked_moments.BLOCK_NUMBERS
    assert sum(size >= whole for size in step("reference")) > 4
    sizes = step("chunked")
    assert sum(size >= whole for size in sizes) == 2
    assert all(size <= block for size in sizes if size < whole)


def test_auto_takes_the_blocks_for_many_pixels_alone() -> None:
    for n in (8, CHUNKED_FROM["information"]):
        a, b = torch.randn(2, n, 4)
        impl: Implementation = "reference" if n == 8 else "chunked"
        assert torch.equal(joint_matrix(a, b), joint_matrix(a, b, impl=impl))


@pytest.mark.parametrize(("device", "chosen"), [("cpu", "chunked"), ("mps", "reference")])
def test_auto_keeps_to_the_reference_where_there_is_no_float64(device: str, chosen: str) -> None:
    place = torch.device(device)
    found = choose_implementation(
        "auto", function="information", size=10**6, device=place, dtype=torch.float32
    )
    assert found == chosen
