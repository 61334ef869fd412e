"""Every setting against slow loops over pixels, and the self-check values of the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.eval.oracles import (
    Map,
    Pairs,
    intersect_and_union,
    nanmean,
    pooled_recall,
    recalls,
)

from vilseg_eval import PROTOCOLS, ClassSets
from vilseg_eval.scores import chance_counts, score_protocols, scores

GZLSS, ALL, ZLSS = (PROTOCOLS[name] for name in ("gzlss", "all", "zlss"))
BACKGROUND = 0
NAMES = ("background", "a", "b", "c", "d", "e")
SETS = ClassSets(NAMES, (2, 5), BACKGROUND)


def counts_of(pairs: Pairs, *, classes: int = len(NAMES)) -> NDArray[np.int64]:
    """(k, k + 1); -1 is outside, 255 ignored."""
    counts = np.zeros((classes, classes + 1), dtype=np.int64)
    for truth, guess in pairs:
        for g, p in zip(truth.ravel().tolist(), guess.ravel().tolist(), strict=True):
            if g != 255:
                counts[g, p] += 1
    return counts


@st.composite
def image_pairs(draw: st.DrawFn, *, guesses: Sequence[int] = (-1, 1, 2, 3, 4, 5)) -> Pairs:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    present = draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 255]), min_size=1, max_size=7))
    pairs = []
    for _ in range(draw(st.integers(1, 3))):
        shape = (draw(st.integers(1, 6)), draw(st.integers(1, 6)))
        pairs.append((rng.choice(present, shape), rng.choice(guesses, shape)))
    return pairs


def optional(value: float) -> Any:
    return None if np.isnan(value) else pytest.approx(value)


def expected_scores(pairs: Pairs, *, scored: Sequence[int], ignore: set[int]) -> dict[str, Any]:
    iou = intersect_and_union(pairs, classes=scored, ignore=ignore)
    unseen = [c for c in scored if c in SETS.unseen]
    return {
        "miou": optional(nanmean(iou)),
        "accuracy": {
            "unseen_recall": optional(pooled_recall(pairs, classes=unseen)),
            "overall": optional(pooled_recall(pairs, classes=scored)),
            "class_mean": optional(nanmean(recalls(pairs, classes=scored))),
        },
        "iou": {NAMES[c]: optional(v) for c, v in zip(scored, iou, strict=True)},
        "absent": [NAMES[c] for c, v in zip(scored, iou, strict=True) if np.isnan(v)],
    }


@given(image_pairs())
def test_generalised_unseen_scores_are_spnets(pairs: Pairs) -> None:
    measured = scores(counts_of(pairs), GZLSS, sets=SETS)
    assert measured == expected_scores(pairs, scored=(2, 5), ignore={255, BACKGROUND})


@given(image_pairs())
def test_all_class_scores_are_mmsegs_without_background(pairs: Pairs) -> None:
    measured = scores(counts_of(pairs), ALL, sets=SETS)
    assert measured == expected_scores(pairs, scored=range(1, 6), ignore={255, BACKGROUND})


@given(image_pairs(guesses=(2, 5)))
def test_restricted_scores_are_spnets(pairs: Pairs) -> None:
    measured = scores(counts_of(pairs), ZLSS, sets=SETS)
    assert measured == expected_scores(pairs, scored=(2, 5), ignore={255, 0, 1, 3, 4})


@given(image_pairs(), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_renumbering_the_classes_renames_nothing(pairs: Pairs, random: Any) -> None:
    order = list(range(len(NAMES)))
    random.shuffle(order)
    moved = np.array([*order, len(NAMES)])
    counts = counts_of(pairs)
    renumbered = np.zeros_like(counts)
    renumbered[np.ix_(moved[:-1], moved)] = counts
    names = [""] * len(NAMES)
    for old, new in enumerate(order):
        names[new] = NAMES[old]
    sets = ClassSets(tuple(names), tuple(order[i] for i in SETS.unseen), order[BACKGROUND])
    for protocol in PROTOCOLS.values():
        before = scores(counts, protocol, sets=SETS)
        after = scores(renumbered, protocol, sets=sets)
        assert after["iou"] == before["iou"]
        assert after["accuracy"] == before["accuracy"]
        assert after["miou"] == before["miou"]


@given(image_pairs())
@settings(max_examples=50)
def test_what_is_predicted_on_background_changes_nothing(pairs: Pairs) -> None:
    counts = counts_of(pairs)
    blank = counts.copy()
    blank[BACKGROUND] = 0
    assert score_protocols({"all": counts}, sets=SETS) == score_protocols({"all": blank}, sets=SETS)


def test_identity_scores_one_everywhere() -> None:
    counts = np.zeros((6, 7), dtype=np.int64)
    counts[range(6), range(6)] = [2, 3, 1, 4, 1, 5]
    for protocol in PROTOCOLS.values():
        measured = scores(counts, protocol, sets=SETS)
        assert measured["miou"] == 1
        assert set(measured["iou"].values()) <= {1}
        assert set(measured["accuracy"].values()) - {None} == {1}


def test_a_seen_pixel_called_unseen_hurts_the_generalised_setting_only() -> None:
    truth = np.array([2, 2, 5, 5])
    right: Pairs = [(truth, truth)]
    spilt: Pairs = [(np.array([2, 2, 5, 5, 1]), np.array([2, 2, 5, 5, 2]))]
    for protocol, iou in ((GZLSS, 2 / 3), (ZLSS, 1.0)):
        assert scores(counts_of(right), protocol, sets=SETS)["iou"]["b"] == 1
        assert scores(counts_of(spilt), protocol, sets=SETS)["iou"]["b"] == pytest.approx(iou)


def test_absent_classes_are_skipped_and_phantoms_score_zero() -> None:
    truth, guess = np.array([2, 2, 1, 255]), np.array([2, 2, 3, 4])
    measured = scores(counts_of([(truth, guess)]), ALL, sets=SETS)
    assert measured["iou"] == {"a": 0.0, "b": 1.0, "c": 0.0, "d": None, "e": None}
    assert measured["miou"] == pytest.approx(1 / 3)
    assert measured["accuracy"]["class_mean"] == pytest.approx(1 / 2)


def test_a_prediction_outside_the_candidates_is_a_miss_and_nobodys_false_positive() -> None:
    truth = np.array([2, 2, 2, 1])
    for outside in (-1, BACKGROUND):
        guess = np.array([2, outside, outside, outside])
        measured = scores(counts_of([(truth, guess)]), ALL, sets=SETS)
        assert measured["iou"]["b"] == pytest.approx(1 / 3)
        assert measured["iou"]["a"] == 0
        assert measured["accuracy"]["overall"] == pytest.approx(1 / 4)
        assert "background" not in measured["iou"]


def test_without_labelled_pixels_everything_is_undefined() -> None:
    measured, chance = score_protocols(
        {"all": counts_of([(np.array([255, 0]), np.array([1, 2]))])}, sets=SETS
    )
    assert measured["zlss"] is None
    for scored in (measured["gzlss"], measured["all"], *chance.values()):
        assert scored is not None
        assert scored["miou"] is None
        assert set(scored["accuracy"].values()) == {None}


def test_a_set_without_unseen_classes_has_undefined_unseen_scores() -> None:
    sets = ClassSets(NAMES, (), None)
    measured, _ = score_protocols({"all": np.eye(6, 7, dtype=np.int64)}, sets=sets)
    assert measured["gzlss"] is not None
    assert measured["gzlss"]["miou"] is None
    assert measured["gzlss"]["iou"] == {}
    assert measured["zlss"] is None
    assert measured["all"] is not None
    assert measured["all"]["accuracy"]["unseen_recall"] is None
    assert measured["all"]["miou"] == 1


@given(st.lists(st.integers(0, 1000), min_size=6, max_size=6))
@settings(max_examples=50)
def test_chance_has_the_closed_form_of_its_share(pixels: list[int]) -> None:
    counts = np.zeros((6, 7), dtype=np.int64)
    counts[:, -1] = pixels
    _, chance = score_protocols({"all": counts}, sets=SETS)
    total = sum(pixels[1:])
    for c in range(1, 6):
        q = pixels[c] / total if total else 0.0
        expected = pytest.approx(q / (2 - q)) if pixels[c] else None
        assert chance["all"]["iou"][NAMES[c]] == expected
        if c in SETS.unseen:
            assert chance["gzlss"]["iou"][NAMES[c]] == expected


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=str)
def test_chance_is_what_random_labels_score(protocol: Any) -> None:
    rng = np.random.default_rng(0)
    truth: Map = rng.choice(
        [0, 1, 2, 3, 4, 5, 255], 400_000, p=[0.3, 0.2, 0.1, 0.15, 0.1, 0.1, 0.05]
    )
    candidates = list(SETS.candidates(protocol))
    pool = truth[np.isin(truth, candidates)]
    counts = np.zeros((6, 256), dtype=np.int64)
    guess = rng.choice(pool, truth.size)
    np.add.at(counts, (np.where(truth == 255, 0, truth), guess), np.where(truth == 255, 0, 1))
    random_labels = scores(counts[:, :7], protocol, sets=SETS)
    expected = scores(chance_counts(counts[:, :7], protocol, sets=SETS), protocol, sets=SETS)
    assert expected["iou"] == pytest.approx(random_labels["iou"], abs=0.005)
    assert expected["accuracy"] == pytest.approx(random_labels["accuracy"], abs=0.005)
    assert expected["miou"] == pytest.approx(random_labels["miou"], abs=0.005)


def test_wrong_class_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="names: expected different class names"):
        ClassSets(("a", "a"), (), None)
    for unseen, background in (((2,), None), ((0,), 0)):
        with pytest.raises(ValueError, match="unseen: expected ids of foreground classes below 2"):
            ClassSets(("a", "b"), unseen, background)
    with pytest.raises(ValueError, match=r"counts: expected \(6, 7\) for 6 class names"):
        scores(np.zeros((5, 6), dtype=np.int64), ALL, sets=SETS)
    with pytest.raises(ValueError, match='matrices: expected one named "all"'):
        score_protocols({"unseen": np.zeros((6, 7), dtype=np.int64)}, sets=SETS)
