"""Images as nonzero cells, and what a bootstrap over them must keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vilseg_eval import PROTOCOLS, Bootstrap, ClassSets, ImageCounts
from vilseg_eval.image_counts import nonzero_cells
from vilseg_eval.image_scores import example_keys, score_images
from vilseg_eval.intervals import intervals
from vilseg_eval.scores import scores

SETS = ClassSets(("background", "a", "b", "c"), (2,), 0)
CHOSEN = [PROTOCOLS[name] for name in ("gzlss", "seen", "harmonic", "all", "all-background")]


def images_of(matrices: NDArray[np.int64]) -> ImageCounts:
    return ImageCounts.of(map(nonzero_cells, matrices), classes=matrices.shape[1])


def random_matrices(seed: int, *, count: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 9, (count, 4, 5)) * rng.integers(0, 2, (count, 4, 5))


def ends(matrices: NDArray[np.int64], **options: Any) -> dict[str, dict[str, Any]]:
    images = images_of(matrices)
    bootstrap = Bootstrap(**{"replicates": 50, **options})
    return intervals({"all": images, "background": images}, CHOSEN, sets=SETS, bootstrap=bootstrap)


@given(st.integers(0, 2**32 - 1), st.integers(0, 6))
@settings(max_examples=30)
def test_cells_hold_what_matrices_held(seed: int, count: int) -> None:
    matrices = random_matrices(seed, count=count)
    images = images_of(matrices)
    assert len(images) == count
    assert all(np.array_equal(images.dense(i), matrix) for i, matrix in enumerate(matrices))
    assert np.array_equal(images.pooled(), matrices.sum(0))
    assert ImageCounts.from_arrays(images.arrays("x"), "x", classes=4) == images
    margins = images.marginals([1, 3])
    for i, matrix in enumerate(matrices):
        assert margins.hits[i].tolist() == matrix.diagonal().tolist()
        assert margins.support[i].tolist() == matrix.sum(1).tolist()
        assert margins.predicted[i].tolist() == matrix[[1, 3], :4].sum(0).tolist()


def test_cells_that_do_not_fit_are_refused() -> None:
    sound: dict[str, Any] = {
        "starts_x": np.array([0, 1]),
        "cells_x": np.array([1], np.int32),
        "pixels_x": np.array([1]),
    }
    assert ImageCounts.from_arrays(sound, "x", classes=4).pooled()[0, 1] == 1
    for name, value in (("starts_x", [0, 2]), ("cells_x", [99]), ("pixels_x", [0])):
        broken = sound | {name: np.array(value).astype(sound[name].dtype)}
        with pytest.raises(ValueError, match="evaluate again"):
            ImageCounts.from_arrays(broken, "x", classes=4)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_images_all_alike_leave_no_doubt(seed: int) -> None:
    one = random_matrices(seed, count=1)
    found = ends(np.repeat(one, 7, axis=0))
    for protocol in CHOSEN:
        point = scores(7 * one[0], protocol, sets=SETS)
        for key, expected in ((("miou",), point["miou"]), (("accuracy", "overall"), None)):
            interval: Any = found[protocol.name]
            for part in key:
                interval = interval[part]
            value = expected if len(key) == 1 else point["accuracy"]["overall"]
            if value is None:
                assert interval is None
            else:
                assert interval[0] == interval[1] == pytest.approx(value)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_an_interval_is_that_of_scores_of_drawn_images(seed: int) -> None:
    matrices = random_matrices(seed, count=5)
    rng = np.random.default_rng(3)
    draws = [matrices[rng.integers(5, size=(1, 5))[0]].sum(0) for _ in range(20)]
    found = ends(matrices, replicates=20, seed=3)
    for protocol in CHOSEN:
        values = [scores(draw, protocol, sets=SETS)["miou"] for draw in draws]
        defined = [value for value in values if value is not None]
        expected = pytest.approx(np.quantile(defined, [0.025, 0.975])) if defined else None
        assert found[protocol.name]["miou"] == expected


def test_the_seed_alone_decides_and_more_draws_only_add(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = random_matrices(1, count=9)
    assert ends(matrices, seed=1) == ends(matrices, seed=1) != ends(matrices, seed=2)
    whole = ends(matrices, replicates=40)
    monkeypatch.setattr("vilseg_eval.intervals._WEIGHTS_AT_ONCE", 9 * 7)
    assert ends(matrices, replicates=40) == whole
    few, many = (ends(matrices, replicates=n, level=0.5)["all"]["miou"] for n in (400, 4000))
    assert few == pytest.approx(many, abs=0.02)
    shuffled = ends(matrices[::-1], replicates=4000, level=0.5)["all"]["miou"]
    assert shuffled == pytest.approx(many, abs=0.01)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    # 40 images of 10 pixels of one class, each right with probability 0.6 in its own image.
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        right = rng.binomial(10, np.clip(rng.normal(0.6, 0.2, 40), 0, 1))
        matrices = np.zeros((40, 4, 5), dtype=np.int64)
        matrices[:, 1, 1], matrices[:, 1, 4] = right, 10 - right
        low, high = ends(matrices, replicates=100, seed=trial, level=0.9)["all"]["miou"]
        covered += low <= 0.597 <= high
    assert 0.8 <= covered / 100 <= 0.98


def test_bad_settings_are_refused() -> None:
    for wrong in ({"replicates": 0}, {"level": 1.0}, {"seed": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
            Bootstrap(**wrong)


def test_images_are_ranked_by_their_own_classes() -> None:
    matrices = np.zeros((4, 4, 5), dtype=np.int64)
    matrices[0, 1, 1] = 4  # right
    matrices[1, 1, 2] = 4  # wrong
    matrices[2, 1, 1], matrices[2, 1, 4] = 3, 1  # a quarter outside
    matrices[3, 0, 1] = 9  # background alone
    scored = score_images(images_of(matrices), keys="wxyz", sets=SETS)
    assert [image["miou"] for image in scored] == [1.0, 0.0, 0.75, None]
    assert [image["accuracy"] for image in scored] == [1.0, 0.0, 0.75, None]
    assert [image["pixels"] for image in scored] == [4, 4, 4, 0]
    chosen = example_keys(scored)
    assert chosen == {"best": ["w", "y", "x"], "median": ["w", "y", "x"], "worst": ["x", "y", "w"]}
