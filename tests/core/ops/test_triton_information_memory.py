"""Where kernels of the mutual information read and write: layouts, wide offsets, guard bands."""

import pytest
import torch
from tests.core.ops.test_triton_information import DEVICE, assert_near, kernel, plain, problem
from torch import Tensor

from vilseg_core.ops import pixel_geometry
from vilseg_core.ops.information_gradients import backward_into
from vilseg_core.ops.information_launches import joint_parts, launch_finish

pytest.importorskip("triton")

LAYOUTS = ["first", "last", "rows", "sliced", "offset", "cropped", "expanded", "scattered"]


def laid_out(values: Tensor, layout: str) -> tuple[Tensor, int]:
    """(2, c, 4, 6) logits in another layout, and their channel dimension."""
    if layout == "last":
        return values.contiguous(memory_format=torch.channels_last), 1
    if layout == "rows":
        return values.movedim(1, -1).reshape(-1, values.shape[1]), 1
    if layout == "sliced":
        return torch.stack([values, values], dim=-1)[..., 0], 1
    if layout == "offset":
        room = values.new_empty(values.numel() + 3)
        return room[3:].view(values.shape).copy_(values), 1
    if layout == "cropped":
        return torch.nn.functional.pad(values, (1, 2, 3, 1))[..., 3:-1, 1:-2], 1
    if layout == "expanded":
        return values[:1].expand(2, -1, -1, -1), 1
    if layout == "scattered":
        # Four dimensions of pixels of which no two join.
        spaced = values.new_zeros(4, 4, 8, 6, values.shape[1])[::2, ::2, ::2, ::2]
        return spaced.copy_(values.view(2, -1, 2, 2, 2, 3).flatten(3, 4).movedim(1, -1)), 4
    return values, 1


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_read_as_they_are(layout: str, masked: bool) -> None:
    a, b, weights = problem(2, 5, 4, 6)
    a, dim = laid_out(a.detach(), layout)
    b, _ = laid_out(b.detach(), layout)
    inputs: tuple[Tensor, ...] = (a.requires_grad_(), b.requires_grad_())
    if masked:
        shape = [*a.shape[:dim], *a.shape[dim + 1 :]]
        inputs = (*inputs, weights.detach().reshape(shape).requires_grad_())
    found, truth = kernel(inputs, channel_dim=dim), plain(inputs, channel_dim=dim)
    assert_near(found, truth, limit=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [5, 130])
def test_offsets_beyond_32_bits(clusters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = problem(2, clusters, 4, 6).inputs(True)
    narrow = kernel(inputs)
    monkeypatch.setattr(pixel_geometry, "_WIDE_FROM", 0)
    geometry = pixel_geometry.PixelGeometry.of([inputs[0].movedim(1, 0)], None)
    assert geometry is not None
    assert geometry.wide
    assert all(torch.equal(x, y) for x, y in zip(narrow, kernel(inputs), strict=True))


def guarded(values: Tensor, filling: float) -> tuple[Tensor, Tensor]:
    """A copy inside a larger buffer filled with a number, channel-first; and the buffer."""
    buffer = values.new_full([size + 4 for size in values.shape], filling)
    inside = buffer[tuple(slice(2, -2) for _ in values.shape)]
    inside.copy_(values)
    return inside, buffer


@pytest.mark.parametrize("clusters", [3, 33, 130])
def test_nothing_outside_is_read_or_written(clusters: int) -> None:
    problem_ = problem(clusters, 3, 13)
    a, b = (x.detach()[:, 0] for x in problem_[:2])
    weights = problem_.weights.detach()[0]
    truth = plain((a.T, b.T, weights), channel_dim=1)
    (a, _), (b, _), (weights, _) = (guarded(x, float("nan")) for x in (a, b, weights))
    parts = joint_parts(a, b, weights, bits=22)
    loss, matrix, lines = launch_finish(parts, entropy_weight=1.0, symmetric=False)
    outputs, buffers = zip(*(guarded(torch.zeros_like(x), 7.0) for x in (a, b)), strict=True)
    d_weights = torch.full((13 + 4,), 7.0, device=DEVICE)
    backward_into(
        (outputs[0], outputs[1], d_weights[2:-2]),
        a,
        b,
        grad=loss.new_ones(()),
        matrix=matrix,
        lines=lines,
        norms=parts.norms,
        weights=weights,
        bits=22,
    )
    found = (loss, outputs[0].T, outputs[1].T, d_weights[2:-2])
    assert_near(found, truth, limit=1e-5)
    for buffer, size in ((buffers[0], clusters * 13), (buffers[1], clusters * 13), (d_weights, 13)):
        assert int((buffer == 7.0).sum()) == buffer.numel() - size
