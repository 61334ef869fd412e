"""Seen, unseen, harmonic and background settings against the published evaluators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.eval.oracles import Pairs, intersect_and_union, nanmean
from tests.eval.published_oracles import spnet_gzsl, zs3

from vilseg_eval import PROTOCOLS, ClassSets
from vilseg_eval.scores import Absent, scores

FOREGROUND = ClassSets(("a", "b", "c", "d", "e"), (1, 4), None)
BEHIND = ClassSets(("background", "b", "c", "d", "e"), (1, 4), 0)
SEEN = (0, 2, 3)


@st.composite
def label_pairs(draw: st.DrawFn) -> Pairs:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    present = draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 255]), min_size=1, max_size=6))
    guessed = draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    return [(rng.choice(present, shape), rng.choice(guessed, shape)) for _ in range(2)]


def counts_of(pairs: Pairs) -> Any:
    counts = np.zeros((5, 6), dtype=np.int64)
    for truth, guess in pairs:
        kept = truth != 255
        np.add.at(counts, (truth[kept], guess[kept]), 1)
    return counts


def value(number: float) -> Any:
    return None if np.isnan(number) else pytest.approx(number)


@given(label_pairs())
@settings(max_examples=60)
def test_seen_unseen_and_harmonic_scores_are_spnets_and_cagnets(pairs: Pairs) -> None:
    expected = spnet_gzsl(pairs, classes=5, seen=SEEN, unseen=FOREGROUND.unseen)
    for name, protocol in (("unseen", "gzlss"), ("seen", "seen"), ("harmonic", "harmonic")):
        measured = scores(counts_of(pairs), PROTOCOLS[protocol], sets=FOREGROUND)
        assert measured["miou"] == value(expected[f"iou {name}"])
        assert measured["accuracy"]["overall"] == value(expected[f"overall {name}"])
        assert measured["accuracy"]["class_mean"] == value(expected[f"mean {name}"])


@given(label_pairs())
@settings(max_examples=60)
def test_background_as_a_class_with_absent_classes_zero_is_zs3s(pairs: Pairs) -> None:
    expected = zs3(pairs, classes=5, seen=SEEN, unseen=BEHIND.unseen)
    for name in ("seen", "unseen", "all"):
        protocol = PROTOCOLS[f"{'gzlss' if name == 'unseen' else name}-background"]
        measured = scores(counts_of(pairs), protocol, sets=BEHIND, absent="zero")
        assert measured["miou"] == value(expected[f"iou {name}"])
        assert measured["accuracy"]["overall"] == value(expected[f"overall {name}"])
        assert measured["accuracy"]["class_mean"] == value(expected[f"mean {name}"])
    both = scores(counts_of(pairs), PROTOCOLS["harmonic-background"], sets=BEHIND, absent="zero")
    assert both["miou"] == value(expected["iou harmonic"])
    assert both["seen"] == value(expected["iou seen"])


@given(label_pairs())
@settings(max_examples=30)
def test_all_classes_with_background_are_mmsegs(pairs: Pairs) -> None:
    iou = intersect_and_union(pairs, classes=range(5), ignore={255})
    measured = scores(counts_of(pairs), PROTOCOLS["all-background"], sets=BEHIND)
    assert measured["miou"] == value(nanmean(iou))
    assert measured["iou"] == {BEHIND.names[c]: value(x) for c, x in enumerate(iou)}


@pytest.mark.parametrize(("rule", "miou"), [("skip", 0.5), ("zero", 0.2)])
def test_absent_classes_are_left_out_or_count_zero(rule: Absent, miou: float) -> None:
    pairs = [(np.array([0, 1, 255]), np.array([0, 0, 3]))]
    measured = scores(counts_of(pairs), PROTOCOLS["all"], sets=FOREGROUND, absent=rule)
    assert measured["absent"] == ["c", "d", "e"]
    assert measured["iou"]["e"] == (0.0 if rule == "zero" else None)
    assert measured["miou"] == pytest.approx(miou / 2)


def test_absent_classes_can_be_refused() -> None:
    counts = counts_of([(np.array([0, 1]), np.array([0, 2]))])
    with pytest.raises(ValueError, match=r"absent: .* of all in .*, d, e are in neither; score"):
        scores(counts, PROTOCOLS["all"], sets=FOREGROUND, absent="error")
    with pytest.raises(ValueError, match="background: expected a set with a background class"):
        scores(counts, PROTOCOLS["all-background"], sets=FOREGROUND)
