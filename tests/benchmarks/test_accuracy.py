"""The accuracy table measures what it says."""

import pytest
import torch
from benchmarks import accuracy
from torch import Tensor


def product(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum()


def test_the_truth_has_no_error_and_a_wrong_gradient_has_its_own() -> None:
    inputs = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0])]
    assert accuracy.errors(product, product, inputs) == [0.0, 0.0, 0.0]

    def twice_by_the_second(first: Tensor, second: Tensor) -> Tensor:
        return (first * second).sum() + (second - second.detach()).sum()

    loss, first, second = accuracy.errors(twice_by_the_second, product, inputs)
    assert loss == first == 0.0
    # One more in each of two entries, over a gradient of (1, 2).
    assert second == pytest.approx((2 / 5) ** 0.5)


def test_an_input_without_gradient_is_not_a_number() -> None:
    inputs = [torch.ones(2), torch.ones(2)]
    errors = accuracy.errors(lambda first, _: first.sum() * 2, product, inputs)
    assert errors[2] != errors[2]


def test_cases_cover_both_losses_at_every_dtype() -> None:
    for dtype in accuracy.DTYPES:
        found = list(accuracy.cases(dtype))
        assert {case.problem.loss for case in found} == {"info_nce", "mutual_information"}
        for case in found:
            inputs = case.inputs(torch.Generator().manual_seed(0))
            expected = [tuple(x.shape) for x in case.problem.inputs("cpu", seed=0)]
            assert [tuple(x.shape) for x in inputs] == expected
