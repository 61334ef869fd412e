"""The chunked path of InfoNCE: blocks of any size give what the whole matrix gives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.core.allocations import allocations
from torch import Tensor

from vilseg_core.functional import symmetric_info_nce
from vilseg_core.functional.info_nce import Direction
from vilseg_core.ops import Implementation, chunked_contrast, contrast
from vilseg_core.ops.dispatch import CHUNKED_FROM


def problem(seed: int, n: int, d: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image, noise = torch.randn(2, n, d, dtype=torch.float64, generator=generator)
    scale = torch.tensor(6.0, dtype=torch.float64, requires_grad=True)
    return image.requires_grad_(), (image + 2 * noise).detach().requires_grad_(), scale


@given(
    seed=st.integers(0, 1000),
    n=st.integers(0, 23),
    d=st.integers(2, 9),
    block=st.integers(1, 30),
    direction=st.sampled_from(["both", "image_to_text", "text_to_image"]),
)
def test_every_block_size_gives_the_reference(
    seed: int, n: int, d: int, block: int, direction: Direction
) -> None:
    image, text, scale = problem(seed, n, d)
    truth = symmetric_info_nce(
        image, text, logit_scale=scale, direction=direction, impl="reference"
    )
    rows, columns = direction != "text_to_image", direction != "image_to_text"
    found = contrast(image, text, scale, rows=rows, columns=columns, block=block)
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-14)
    for ours, exact in zip(
        torch.autograd.grad(3 * found, (image, text, scale)),
        torch.autograd.grad(3 * truth, (image, text, scale)),
        strict=True,
    ):
        largest = exact.abs().max().item() if exact.numel() else 0.0
        torch.testing.assert_close(ours, exact, rtol=0, atol=1e-12 * largest + 1e-14)


@pytest.mark.parametrize(("rows", "columns"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("block", [1, 3, 7, 8])
def test_gradients_across_blocks(rows: bool, columns: bool, block: int) -> None:
    def loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        return contrast(image, text, scale, rows=rows, columns=columns, block=block)

    assert torch.autograd.gradcheck(loss, problem(0, 7, 3))


# opcheck itself reads .grad of what it has computed.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_the_operators_are_registered_in_full() -> None:
    for n, block in ((5, 2), (0, 2)):
        image, text, scale = problem(0, n, 3)
        torch.library.opcheck(chunked_contrast._contrast, (image, text, scale, True, True, block))


def test_a_second_derivative_is_refused() -> None:
    image, text, scale = problem(0, 4, 3)
    loss = symmetric_info_nce(image, text, logit_scale=scale, impl="chunked")
    (first,) = torch.autograd.grad(loss, image, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        torch.autograd.grad(first.sum(), image)


@pytest.mark.parametrize("n", [1024, 2048])
def test_memory_grows_with_n_and_not_with_its_square(n: int) -> None:
    image, text = torch.randn(2, n, 8)
    image.requires_grad_()

    def step(impl: Implementation) -> list[int]:
        def run() -> None:
            loss = symmetric_info_nce(image, text, logit_scale=10.0, impl=impl)
            torch.autograd.grad(loss, image)

        return allocations(run)

    assert max(step("reference")) >= 4 * n * n
    assert max(step("chunked")) <= 4 * n * chunked_contrast.BLOCK_ROWS


def test_auto_takes_the_blocks_for_large_batches_alone() -> None:
    for n in (8, CHUNKED_FROM["info_nce"]):
        image, text = torch.randn(2, n, 4)
        chosen = symmetric_info_nce(image, text, logit_scale=10.0)
        impl: Implementation = "reference" if n == 8 else "chunked"
        assert torch.equal(chosen, symmetric_info_nce(image, text, logit_scale=10.0, impl=impl))
