"""What only a GPU shows of the kernels of InfoNCE."""

from collections.abc import Callable

import pytest
import torch
from tests.core.ops.test_triton_contrast import errors, gradients, pairs, scale_of, truth
from torch import Tensor

from vilseg_core.ops.triton_contrast import contrast, pair_statistics

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def leaves(n: int, d: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    image, text = torch.randn(2, n, d, device="cuda", dtype=dtype).unbind()
    return image.requires_grad_(), text.requires_grad_(), scale_of(14.3).requires_grad_()


def step(*inputs: Tensor) -> list[Tensor]:
    image, text, scale = inputs
    loss = contrast(image, text, scale, rows=True, columns=True)
    return [loss, *torch.autograd.grad(loss, inputs)]


@pytest.mark.parametrize("n", [127, 768, 1500])
@pytest.mark.parametrize("d", [63, 512])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_matrix_units_in_half_precision(n: int, d: int, dtype: torch.dtype) -> None:
    image, text = pairs(n, d, dtype=dtype)
    exact = truth(image, text, scale_of(14.3), "both")
    loss, d_image, d_text, d_scale = errors(gradients(image, text, scale_of(14.3), "both"), exact)
    one_rounding = 2**-8 if dtype == torch.bfloat16 else 2**-11
    assert max(d_image, d_text) < 2 * one_rounding
    assert max(loss, d_scale) < 1e-4


@pytest.mark.parametrize("n", [127, 1500])
def test_matrix_units_in_tf32_where_the_user_allows_them(n: int) -> None:
    image, text = pairs(n, 96)
    exact = truth(image, text, scale_of(14.3), "both")
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        found = gradients(image, text, scale_of(14.3), "both")
    finally:
        torch.set_float32_matmul_precision(before)
    assert max(errors(found, exact)) < 5e-3
    assert max(errors(gradients(image, text, scale_of(14.3), "both"), exact)) < 5e-6


def test_several_blocks_of_weights() -> None:
    image, text = pairs(9000, 32, dtype=torch.bfloat16)
    exact = truth(image, text, scale_of(14.3), "both")
    loss, d_image, d_text, d_scale = errors(gradients(image, text, scale_of(14.3), "both"), exact)
    assert max(d_image, d_text) < 2**-7
    assert max(loss, d_scale) < 1e-4


def synchronising(run: Callable[[], object]) -> None:
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    finally:
        torch.cuda.set_sync_debug_mode(before)


def test_the_host_is_never_waited_for() -> None:
    inputs = leaves(768, 512, torch.bfloat16)
    step(*inputs)
    synchronising(lambda: step(*inputs))

    def statistics() -> None:
        row, column, right, *_ = pair_statistics(inputs[0][:256], *inputs[1:], first=256)
        torch.autograd.grad((row - right).sum() + column.sum(), inputs)

    statistics()
    synchronising(statistics)


@pytest.mark.parametrize("n", [768, 3000])
def test_in_a_cuda_graph(n: int) -> None:
    inputs = leaves(n, 512, torch.bfloat16)
    step(*inputs)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step(*inputs)
    with torch.no_grad():
        inputs[0].copy_(torch.randn_like(inputs[0]))
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(found, step(*inputs), strict=True))


@pytest.mark.parametrize("n", [768, 8192])
def test_the_same_bits_every_time(n: int) -> None:
    inputs = leaves(n, 512, torch.bfloat16)
    first = step(*inputs)
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, step(*inputs), strict=True))


def test_memory_of_a_large_batch() -> None:
    """The scores alone would be 17 GB in float32."""
    inputs = leaves(65536, 512, torch.bfloat16)
    step(*leaves(1024, 512, torch.bfloat16))
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step(*inputs)
    assert torch.cuda.max_memory_allocated() - before < 0.5e9
