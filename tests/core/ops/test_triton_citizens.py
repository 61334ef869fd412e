"""The operators of the mutual information as torch wants operators to be."""

from collections.abc import Iterable

import pytest
import torch
from tests.core.ops.test_triton_information import DEVICE, error, kernel, plain, problem
from torch import Tensor

from vilseg_core.ops.triton_information import (
    _information,
    _joint_backward,
    _moments,
    information,
)

pytest.importorskip("triton")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("masked", [False, True])
def test_the_operators_are_registered_in_full(masked: bool) -> None:
    a, b, weights = (x[0].detach().requires_grad_() for x in problem(1, 3, 5))
    given = weights if masked else None
    torch.library.opcheck(_moments, (a, b, given, 0))
    arguments = (a, b, given, 1.5, True, 0)
    torch.library.opcheck(_information, arguments)
    with torch.no_grad():
        loss, *saved = _information(*arguments)
        torch.library.opcheck(
            _joint_backward, (torch.ones_like(loss), *saved, a, b, given, masked, 0)
        )


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [3, 130])
def test_compiles_as_one_graph(clusters: int) -> None:
    a, b, weights = problem(1, clusters, 6)

    def loss(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
        return information(
            a, b, channel_dim=1, weights=weights, entropy_weight=1.0, symmetric=False
        )

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")(a, b, weights)
    found = compiled, *torch.autograd.grad(compiled, (a, b, weights))
    assert all(torch.equal(x, y) for x, y in zip(found, kernel((a, b, weights)), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [9, 130])
def test_bits_do_not_depend_on_the_order_of_programs(
    clusters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = problem(1, clusters, 70 if clusters == 9 else 35).inputs(True)
    first, again = kernel(inputs), kernel(inputs)
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    if DEVICE == "cpu":
        interpreter = pytest.importorskip("triton.runtime.interpreter")

        def backwards_over_the_grid(*limits: int) -> Iterable[int]:
            # Loops inside of kernels come with a start and a step too.
            return reversed(range(*limits)) if len(limits) == 1 else range(*limits)

        monkeypatch.setattr(interpreter, "range", backwards_over_the_grid, raising=False)
        backwards = kernel(inputs)
        assert all(torch.equal(x, y) for x, y in zip(first, backwards, strict=True))


def test_the_gradient_that_comes_in_is_passed_on() -> None:
    a, b, weights = problem(1, 5, 20)
    loss = information(a, b, channel_dim=1, weights=weights, entropy_weight=1.0, symmetric=False)
    tripled = torch.autograd.grad(3.0 * loss, (a, b, weights))
    for ours, once in zip(tripled, kernel((a, b, weights))[1:], strict=True):
        torch.testing.assert_close(ours, 3.0 * once)


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("clusters", [25, 64, 128, 200, 512])
def test_on_a_gpu_many_pixels_keep_the_accuracy(clusters: int, dtype: torch.dtype) -> None:
    inputs = tuple(x.detach().to(dtype).requires_grad_() for x in problem(64, clusters, 14, 14)[:2])
    found, truth = kernel(inputs), plain(inputs)
    limits = (1e-3, 5e-3) if dtype == torch.bfloat16 else (1e-6, 1e-5)
    assert error(found[0], truth[0]) < limits[0]
    assert all(error(x, y) < limits[1] for x, y in zip(found[1:], truth[1:], strict=True))
    for _ in range(3):
        assert all(torch.equal(x, y) for x, y in zip(found, kernel(inputs), strict=True))


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("clusters", [25, 200])
def test_on_a_gpu_nothing_waits_for_the_host(clusters: int) -> None:
    inputs = problem(4, clusters, 14, 14).inputs(True)
    expected = kernel(inputs)
    torch.cuda.set_sync_debug_mode("error")
    try:
        kernel(inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = kernel(inputs)
    for _ in range(3):
        graph.replay()
        assert all(torch.equal(x, y) for x, y in zip(captured, expected, strict=True))


@pytest.mark.gpu
@gpu
def test_on_a_gpu_no_softmax_reaches_memory() -> None:
    inputs = problem(256, 128, 14, 14).inputs(False)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kernel(inputs)
    gradients = sum(4 * x.numel() for x in inputs)
    # 132 partial joints of 64 KB beside the gradients.
    assert torch.cuda.max_memory_allocated() - before < gradients + 2**24
