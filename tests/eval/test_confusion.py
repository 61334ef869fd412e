"""Counts against a slow loop, and the laws of a count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.eval.oracles import intersect_and_union, recalls
from torch import Tensor

from vilseg_eval import ConfusionMatrix, LabelError
from vilseg_eval.confusion import IGNORE, OUTSIDE


def draw_maps(seed: int, *, classes: int, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Prediction and ground truth, with pixels outside and pixels ignored."""
    rng = np.random.default_rng(seed)
    prediction = torch.from_numpy(rng.integers(-1, classes, size))
    target = torch.from_numpy(rng.integers(0, classes + 1, size))
    return prediction, torch.where(target == classes, IGNORE, target)


cases = st.tuples(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.tuples(st.integers(0, 7), st.integers(1, 5)),
)


@given(cases)
def test_counts_equal_a_loop_over_pixels(case: tuple[int, int, tuple[int, int]]) -> None:
    seed, classes, size = case
    prediction, target = draw_maps(seed, classes=classes, size=size)
    matrix = ConfusionMatrix(classes)
    matrix.update(prediction, target)
    expected = torch.zeros(classes, classes + 1, dtype=torch.int64)
    for p, g in zip(prediction.flatten().tolist(), target.flatten().tolist(), strict=True):
        if g != IGNORE:
            expected[g, p if p != OUTSIDE else classes] += 1
    assert torch.equal(matrix.counts, expected)
    pairs = [(target.numpy(), prediction.numpy())]
    iou = intersect_and_union(pairs, classes=range(classes), ignore={IGNORE})
    assert matrix.iou().tolist() == pytest.approx(iou, nan_ok=True)
    assert matrix.recall().tolist() == pytest.approx(
        recalls(pairs, classes=range(classes)), nan_ok=True
    )


@given(cases, st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_merging_is_counting_together_in_any_order(
    case: tuple[int, int, tuple[int, int]], other_seed: int
) -> None:
    seed, classes, size = case
    first = draw_maps(seed, classes=classes, size=size)
    second = draw_maps(other_seed, classes=classes, size=(3, 4))
    a, b, both = (ConfusionMatrix(classes) for _ in range(3))
    a.update(*first)
    b.update(*second)
    both.update(*second)
    both.update(*first)
    before = a.counts.clone()
    assert torch.equal(a.merge(b).counts, both.counts)
    assert torch.equal(b.merge(a).counts, both.counts)
    assert torch.equal(a.counts, before)


@given(cases)
@settings(max_examples=30)
def test_ignored_pixels_never_count(case: tuple[int, int, tuple[int, int]]) -> None:
    seed, classes, size = case
    prediction, target = draw_maps(seed, classes=classes, size=size)
    matrix, kept_only = ConfusionMatrix(classes), ConfusionMatrix(classes)
    wild = torch.where(target == IGNORE, 77, prediction)
    matrix.update(wild, target)
    kept_only.update(prediction[target != IGNORE], target[target != IGNORE])
    assert torch.equal(matrix.counts, kept_only.counts)
    assert int(matrix.counts.sum()) == int((target != IGNORE).sum())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_any_integer_type_counts_the_same(dtype: torch.dtype) -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(torch.tensor([0, 1, 2, 2], dtype=dtype), torch.tensor([0, 1, 2, 0], dtype=dtype))
    assert matrix.counts.diagonal().tolist() == [1, 1, 1]
    assert matrix.counts[0, 2] == 1


@pytest.mark.parametrize("wrong", [255, 3, -2])
def test_a_prediction_outside_the_classes_is_refused_and_nothing_counted(wrong: int) -> None:
    matrix = ConfusionMatrix(3)
    with pytest.raises(LabelError, match=rf"prediction: expected class ids 0 to 2 .*\[{wrong}\]"):
        matrix.update(torch.tensor([0, wrong]), torch.tensor([0, 1]))
    assert int(matrix.counts.sum()) == 0


@pytest.mark.parametrize("wrong", [3, -1, 254])
def test_a_wrong_ground_truth_id_is_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match=r"target: expected class ids 0 to 2 or 255"):
        ConfusionMatrix(3).update(torch.tensor([0]), torch.tensor([wrong]))


def test_shapes_and_types_are_checked() -> None:
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=r"expected equal shapes, got \(2, 2\) and \(2, 3\)"):
        matrix.update(torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"prediction: expected integer class ids, got .*float32"):
        matrix.update(torch.zeros(2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="num_classes: expected at least 1, got 0"):
        ConfusionMatrix(0)
    with pytest.raises(ValueError, match="ignore: 255 is also one of the 300 class ids"):
        ConfusionMatrix(300)
    with pytest.raises(ValueError, match="other: expected 3 classes"):
        matrix.merge(ConfusionMatrix(4))
    with pytest.raises(ValueError, match=r"counts: expected \(k, k \+ 1\)"):
        ConfusionMatrix.from_counts(torch.zeros(3, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="counts: expected integers, none negative"):
        ConfusionMatrix.from_counts(torch.full((1, 2), -1))


def test_ids_above_255_can_be_counted_with_another_ignored_value() -> None:
    matrix = ConfusionMatrix(300, ignore=-1)
    matrix.update(torch.tensor([299, 255, 3]), torch.tensor([299, 255, -1]))
    assert matrix.counts[299, 299] == matrix.counts[255, 255] == 1
    assert int(matrix.counts.sum()) == 2


def test_counts_are_whole_numbers_beyond_float_precision() -> None:
    counts = torch.zeros(1, 2, dtype=torch.int64)
    counts[0, 0] = 2**53
    matrix = ConfusionMatrix.from_counts(counts)
    matrix.update(torch.tensor([0]), torch.tensor([0]))
    assert int(matrix.counts[0, 0]) == 2**53 + 1
