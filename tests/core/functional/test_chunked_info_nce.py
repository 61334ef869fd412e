"""The chunked path of InfoNCE: blocks of any size give what the whole matrix gives."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.core.allocations import allocations
from torch import Tensor

from vilseg_core.functional import symmetric_info_nce
from vilseg_core.functional.info_nce import Direction
from vilseg_core.ops import (
    Implementation,
    chunked_contrast,
    chunked_labels,
    labelled_statistics,
    pair_statistics,
)
from vilseg_core.ops.dispatch import CHUNKED_FROM
from vilseg_core.ops.score_blocks import BLOCK_ROWS

Inputs = tuple[Tensor, Tensor, Tensor]

IMPLEMENTATIONS: list[Implementation] = ["chunked", "reference"]


def problem(seed: int, r: int, c: int, d: int) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(r, d, dtype=torch.float64, generator=generator)
    text = torch.randn(c, d, dtype=torch.float64, generator=generator)
    scale = torch.tensor(6.0, dtype=torch.float64, requires_grad=True)
    return image.requires_grad_(), text.requires_grad_(), scale


def labels_of(seed: int, r: int, c: int) -> tuple[Tensor, Tensor]:
    """Every kind of label: some shared, ignored ones, two kinds of extra ones."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (torch.randint(-3, 4, (size,), generator=generator) for size in (r, c))
    return rows, columns


def whole(inputs: Inputs, right: Tensor, wrong: Tensor) -> list[list[Tensor]]:
    """From the matrix of scores: log-sum-exps, sums and bests, by row and by column."""
    image, text, scale = inputs
    scores = scale * F.normalize(image) @ F.normalize(text).T
    sides = []
    for matrix, of_right, of_wrong in ((scores, right, wrong), (scores.T, right.T, wrong.T)):
        side: list[list[Tensor]] = [[], [], [], [], []]
        for line, rights, wrongs in zip(matrix, of_right, of_wrong, strict=True):
            lowest = line.new_full((), torch.finfo(line.dtype).min)
            side[0].append(line[wrongs].logsumexp(0) if wrongs.any() else lowest)
            side[1].append(line[rights].logsumexp(0) if rights.any() else lowest)
            side[2].append(line[rights].sum())
            side[3].append(line[wrongs].detach().amax() if wrongs.any() else lowest)
            side[4].append(line[rights].detach().amax() if rights.any() else lowest)
        sides.append([torch.stack(x) if x else image.new_zeros(0) for x in side])
    return sides


def assert_equal_with_gradients(found: list[Tensor], truth: list[Tensor], inputs: Inputs) -> None:
    def total(vectors: list[Tensor]) -> Tensor:
        # Different weights, of both signs; an empty candidate set's log-sum-exp has none.
        lowest = torch.finfo(torch.float64).min
        parts = [0.0 * torch.stack([x.sum() for x in inputs]).sum()]
        parts += [
            (torch.linspace(-1, 2 + i, x.numel()).to(x) * x.where(x > lowest, 0.0)).sum()
            for i, x in enumerate(vectors)
        ]
        return torch.stack(parts).sum()

    for ours, exact in zip(found, truth, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-13)
    for ours, exact in zip(
        torch.autograd.grad(total(found), inputs),
        torch.autograd.grad(total(truth), inputs, retain_graph=True),
        strict=True,
    ):
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-12)


@given(
    seed=st.integers(0, 1000),
    r=st.integers(0, 13),
    first=st.integers(0, 4),
    beyond=st.integers(0, 4),
    block=st.integers(1, 15),
)
def test_statistics_of_part_of_the_rows(
    seed: int, r: int, first: int, beyond: int, block: int
) -> None:
    inputs = problem(seed, r, first + r + beyond, 3)
    right = torch.zeros(r, first + r + beyond, dtype=torch.bool)
    right.diagonal(first).fill_(True)
    rows, columns = whole(inputs, right, ~right)
    truth = [rows[0], columns[0], rows[1], rows[3], columns[3]]
    found = pair_statistics(*inputs, first=first, block=block)
    assert_equal_with_gradients(list(found), truth, inputs)
    for rows_wanted, kept in ((True, [0, 2, 3]), (False, [1, 2, 4])):
        partly = pair_statistics(
            *inputs, first=first, rows=rows_wanted, columns=not rows_wanted, block=block
        )
        assert_equal_with_gradients([partly[i] for i in kept], [truth[i] for i in kept], inputs)


@given(
    seed=st.integers(0, 1000),
    r=st.integers(0, 13),
    c=st.integers(0, 13),
    block=st.integers(1, 15),
)
def test_statistics_of_labelled_rows(seed: int, r: int, c: int, block: int) -> None:
    inputs = problem(seed, r, c, 3)
    row_labels, column_labels = labels_of(seed, r, c)
    right = (row_labels[:, None] == column_labels) & (column_labels >= 0)
    seen = (row_labels != -1)[:, None] & (column_labels != -1)
    truth = whole(inputs, right, seen & ~right)
    found = labelled_statistics(
        *inputs, row_labels=row_labels, column_labels=column_labels, block=block
    )
    assert_equal_with_gradients([*found[0], *found[1]], truth[0] + truth[1], inputs)


@given(
    seed=st.integers(0, 1000),
    n=st.integers(0, 23),
    direction=st.sampled_from(["both", "image_to_text", "text_to_image"]),
)
def test_the_loss_and_its_gradients_are_the_references(
    seed: int, n: int, direction: Direction
) -> None:
    inputs = problem(seed, n, n, 5)
    found, truth = (
        symmetric_info_nce(*inputs[:2], logit_scale=inputs[2], direction=direction, impl=impl)
        for impl in IMPLEMENTATIONS
    )
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-14)
    for ours, exact in zip(
        torch.autograd.grad(3 * found, inputs), torch.autograd.grad(3 * truth, inputs), strict=True
    ):
        largest = exact.abs().max().item() if exact.numel() else 0.0
        torch.testing.assert_close(ours, exact, rtol=0, atol=1e-12 * largest + 1e-14)


# opcheck itself reads .grad of what it has computed.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("r", [5, 0])
def test_the_operators_are_registered_in_full(r: int) -> None:
    inputs = problem(0, r, r + 2, 3)
    for rows, columns in ((True, True), (True, False), (False, True)):
        options = (*inputs, 1, rows, columns, 2)
        torch.library.opcheck(chunked_contrast._statistics, options)
    labelled = (*inputs, *labels_of(0, r, r + 2), 2)
    torch.library.opcheck(chunked_labels._statistics, labelled)


@pytest.mark.parametrize("options", [{}, {"ids": torch.tensor([0, 1, 0, 2])}], ids=str)
def test_a_second_derivative_is_refused(options: dict[str, Any]) -> None:
    image, text, scale = problem(0, 4, 4, 3)
    loss = symmetric_info_nce(image, text, logit_scale=scale, impl="chunked", **options)
    (first,) = torch.autograd.grad(loss, image, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        torch.autograd.grad(first.sum(), image)


@pytest.mark.parametrize("n", [1024, 2048])
@pytest.mark.parametrize("labelled", [False, True])
def test_memory_grows_with_n_and_not_with_its_square(n: int, labelled: bool) -> None:
    image, text = torch.randn(2, n, 8)
    image.requires_grad_()
    options: dict[str, Any] = {"ids": torch.arange(n) // 2} if labelled else {}

    def step(impl: Implementation) -> list[int]:
        def run() -> None:
            loss = symmetric_info_nce(image, text, logit_scale=10.0, impl=impl, **options)
            torch.autograd.grad(loss, image)

        return allocations(run)

    assert max(step("reference")) >= 4 * n * n
    assert max(step("chunked")) <= 4 * n * BLOCK_ROWS


def test_auto_takes_the_blocks_for_large_batches_alone() -> None:
    for n in (8, CHUNKED_FROM["info_nce"]):
        image, text = torch.randn(2, n, 4)
        chosen = symmetric_info_nce(image, text, logit_scale=10.0)
        impl: Implementation = "reference" if n == 8 else "chunked"
        assert torch.equal(chosen, symmetric_info_nce(image, text, logit_scale=10.0, impl=impl))


def test_no_gradient_overflows_where_scores_are_far_apart() -> None:
    image = torch.eye(3, requires_grad=True)
    loss = symmetric_info_nce(
        image, -torch.eye(3), logit_scale=1e4, ids=torch.tensor([0, 0, 1]), impl="chunked"
    )
    (gradient,) = torch.autograd.grad(loss, image)
    assert math.isfinite(loss.item())
    assert gradient.isfinite().all()
