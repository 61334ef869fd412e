"""Differences of two evaluations on the same images: exact, and not doubted without need."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vilseg_eval import (
    PROTOCOLS,
    Bootstrap,
    ClassSets,
    EvalResult,
    ImageCounts,
    Scoring,
    paired_differences,
)
from vilseg_eval.image_counts import nonzero_cells
from vilseg_eval.scores import scores

SETS = ClassSets(("background", "a", "b", "c"), (2,), 0)
FEW = Scoring(bootstrap=Bootstrap(replicates=60))


def evaluated(
    matrices: NDArray[np.int64], *, keys: list[str] | None = None, sets: ClassSets = SETS
) -> EvalResult:
    images = ImageCounts.of(map(nonzero_cells, matrices), classes=4)
    names = keys or [str(i) for i in range(len(matrices))]
    about = {"background": "ignore"}
    return EvalResult.of({"all": images}, keys=names, sets=sets, about=about, scoring=FEW)


def guesses(skill: float, *, images: int, seed: int) -> NDArray[np.int64]:
    """(images, 4, 5): the same pixels of each class for every skill, hard images hard for all."""
    rng = np.random.default_rng(seed)
    pixels, ease = rng.integers(1, 200, (images, 4)), rng.uniform(0, 1, (images, 1))
    right = np.round(pixels * (0.2 + 0.6 * ease) * skill).astype(np.int64)
    out = np.zeros((images, 4, 5), np.int64)
    for c in (1, 2, 3):
        out[:, c, c] = right[:, c]
        out[:, c, c % 3 + 1] = pixels[:, c] - right[:, c]
    return out


@given(st.integers(1, 6), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_an_interval_is_that_of_differences_on_drawn_images(images: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    both = [rng.integers(0, 9, (images, 4, 5)) for _ in range(2)]
    first, other = map(evaluated, both)
    found = paired_differences(first, other, bootstrap=Bootstrap(replicates=20, seed=3))
    draws = np.random.default_rng(3).integers(images, size=(20, images))
    for name, got in found.items():
        protocol = next(p for p in PROTOCOLS.values() if p.name == name)
        by_draw = []
        for draw in draws:
            a, b = (scores(m[draw].sum(0), protocol, sets=SETS)["miou"] for m in both)
            if a is not None and b is not None:
                by_draw.append(b - a)
        whole = [scores(m.sum(0), protocol, sets=SETS)["miou"] for m in both]
        assert got["miou"] == (None if None in whole else whole[1] - whole[0])
        if by_draw:
            expected = np.quantile(by_draw, [0.025, 0.975])
            np.testing.assert_allclose(got["interval"]["miou"], expected, rtol=0, atol=1e-12)


def test_nobody_is_better_than_himself_and_the_order_turns_the_sign() -> None:
    first, other = (evaluated(guesses(skill, images=12, seed=0)) for skill in (0.7, 0.8))
    same = paired_differences(first, first)
    assert {protocol["miou"] for protocol in same.values()} == {0.0}
    assert all(protocol["interval"]["miou"] == [0.0, 0.0] for protocol in same.values())
    there, back = paired_differences(first, other), paired_differences(other, first)
    for name, found in there.items():
        low, high = found["interval"]["miou"]
        assert back[name]["miou"] == -found["miou"]
        assert back[name]["interval"]["miou"] == pytest.approx([-high, -low])


def test_a_small_gain_on_every_image_shows_where_the_two_intervals_overlap() -> None:
    first, other = (evaluated(guesses(skill, images=30, seed=1)) for skill in (0.8, 0.85))
    ends = [e.results["protocols"]["all"]["interval"]["miou"] for e in (first, other)]
    assert ends[0][1] > ends[1][0]
    gain = paired_differences(first, other)["all"]
    assert gain["interval"]["miou"][0] > 0
    assert all(low > 0 for low, _ in gain["interval"]["iou"].values())


def test_other_images_or_classes_are_refused() -> None:
    first = evaluated(guesses(0.5, images=3, seed=0))
    with pytest.raises(ValueError, match=r"expected the 3 images .* came 2 that one lacks, '2'"):
        paired_differences(first, evaluated(guesses(0.5, images=3, seed=0), keys=["0", "1", "x"]))
    with pytest.raises(ValueError, match="came another order"):
        paired_differences(first, evaluated(guesses(0.5, images=3, seed=0), keys=["1", "0", "2"]))
    renamed = ClassSets(("background", "a", "b", "d"), (2,), 0)
    with pytest.raises(ValueError, match="expected the classes of the first evaluation"):
        paired_differences(first, evaluated(guesses(0.5, images=3, seed=0), sets=renamed))
