"""The kernels' operators as torch sees them, and their edges: none, one, bad input."""

import pytest
import torch
from tests.core.ops.test_triton_contrast import DEVICE, pairs, scale_of
from torch import Tensor

from vilseg_core.ops import triton_contrast
from vilseg_core.ops.triton_contrast import contrast, pair_statistics

pytest.importorskip("triton")

LOWEST = torch.finfo(torch.float32).min


def leaves(n: int, d: int) -> tuple[Tensor, Tensor, Tensor]:
    image, text = pairs(n, d)
    return image.requires_grad_(), text.requires_grad_(), scale_of(10.0).requires_grad_()


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize(("rows", "columns"), [(True, True), (True, False), (False, True)])
def test_none_and_one(n: int, rows: bool, columns: bool) -> None:
    inputs = leaves(n, 5)
    loss = contrast(*inputs, rows=rows, columns=columns)
    assert loss.item() == 0
    for leaf, grad in zip(inputs, torch.autograd.grad(loss, inputs), strict=True):
        assert torch.equal(grad, torch.zeros_like(leaf))


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (0, 3), (1, 1)])
def test_statistics_without_wrong_partners(rows: int, columns: int) -> None:
    image, text, scale = leaves(columns, 5)
    found = pair_statistics(image[:rows], text, scale, first=0)
    assert [len(x) for x in found] == [rows, columns, rows, rows, columns]
    for k in (0, 1, 3, 4):
        assert (found[k] == LOWEST).all()
    for grad in torch.autograd.grad(found[0].sum() + found[1].sum(), (image, text, scale)):
        assert (grad == 0).all()


def test_rows_without_elements() -> None:
    image, text = torch.empty(2, 3, 0, device=DEVICE)
    loss = contrast(image, text, scale_of(10.0), rows=True, columns=True)
    torch.testing.assert_close(loss, torch.tensor(3.0, device=DEVICE).log())


def test_the_same_bits_every_time() -> None:
    inputs = leaves(35, 17)
    found = []
    for _ in range(2):
        loss = contrast(*inputs, rows=True, columns=True)
        found.append([loss, *torch.autograd.grad(loss, inputs)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


# opcheck itself reads .grad of what it has computed.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("n", [0, 5])
def test_the_operators_are_registered_in_full(n: int) -> None:
    image, text, scale = leaves(n, 3)
    torch.library.opcheck(triton_contrast._contrast, (image, text, scale, True))
    torch.library.opcheck(triton_contrast._pair_statistics, (image[:3], text, scale, n // 3))
    inputs = [x.detach() for x in (image, text, scale)]
    _, inverse, wrong, weights = triton_contrast._contrast(*inputs, True)
    arguments = (scale_of(1.0), *inputs, inverse, *wrong.unbind(), weights[0], None, weights[2])
    torch.library.opcheck(triton_contrast._gradients, (*arguments, 0, 0.5))


def test_in_one_compiled_graph() -> None:
    image, text, scale = leaves(9, 4)

    def both(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        loss = contrast(image, text, scale, rows=True, columns=True)
        row, _, right, *_ = pair_statistics(image[:4], text, scale, first=2)
        return loss + (row - right).sum()

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    expected, found = both(image, text, scale), compiled(image, text, scale)
    assert torch.equal(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, (image, text, scale)),
        torch.autograd.grad(expected, (image, text, scale)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_autocast_changes_nothing() -> None:
    inputs = leaves(9, 4)
    loss = contrast(*inputs, rows=True, columns=True)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        inside = contrast(*inputs, rows=True, columns=True)
        grads = torch.autograd.grad(inside, inputs)
    assert torch.equal(inside, loss)
    for ours, theirs in zip(grads, torch.autograd.grad(loss, inputs), strict=True):
        assert torch.equal(ours, theirs)


def test_a_second_derivative_is_refused() -> None:
    image, text, scale = leaves(4, 3)
    loss = contrast(image, text, scale, rows=True, columns=True)
    (first,) = torch.autograd.grad(loss, image, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        torch.autograd.grad(first.sum(), image)


def test_what_does_not_fit_is_refused() -> None:
    image, text = pairs(4, 3)
    scale = scale_of(10.0)
    with pytest.raises(ValueError, match="rows, columns: expected one True at least, came neither"):
        contrast(image, text, scale, rows=False, columns=False)
    with pytest.raises(
        ValueError, match=r"image, text: expected one shape \(n, d\), came \(4, 3\)"
    ):
        contrast(image, text[:3], scale, rows=True, columns=True)
    with pytest.raises(ValueError, match=r"image, text: expected \(r, d\) and \(c, d\), came"):
        pair_statistics(image, text[:, :2], scale, first=0)
    with pytest.raises(
        ValueError, match="image: expected float32, bfloat16 or float16, came torch"
    ):
        contrast(image.double(), text, scale, rows=True, columns=True)
    with pytest.raises(
        ValueError, match=r"scale: expected a 0-d float32 tensor, came torch\.float64"
    ):
        contrast(image, text, scale.double(), rows=True, columns=True)
    with pytest.raises(ValueError, match="first: expected 0 <= first <= 1, the rows of text"):
        pair_statistics(image[:3], text, scale, first=2)
