"""Rules for background: as text, as words, as a threshold, and as one that is calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.eval.fakes import MapSegmenter, MemorySet, ScoreSegmenter, class_list
from tests.eval.oracles import intersect_and_union, nanmean
from torch import Tensor

from vilseg_eval import BackgroundRule, ClassSets, RegionSegmentation, Scoring, calibrate, evaluate
from vilseg_eval.abstention import miou_by_threshold
from vilseg_eval.counting import LEVELS

CLASSES = class_list(5, unseen=(2, 4), background=0)
SETS = ClassSets.of(CLASSES)
POINTS = Scoring(bootstrap=None)


def case(
    seed: int, *, words: int = 4, prefix: str = "image"
) -> tuple[MemorySet, dict[str, Tensor]]:
    rng = np.random.default_rng(seed)
    sizes = [(int(rng.integers(2, 7)), int(rng.integers(2, 7))) for _ in range(3)]
    maps = [torch.from_numpy(rng.choice([0, 0, 1, 2, 3, 4, 255], size)) for size in sizes]
    scores = {
        f"{prefix}{i}": torch.from_numpy(rng.normal(0, 0.1, (words, *size)).astype(np.float32))
        for i, size in enumerate(sizes)
    }
    return MemorySet(CLASSES, maps), scores


class RegionSegmenter(ScoreSegmenter):
    """The same scores as regions of one pixel each."""

    def segment(self, images: Sequence[Tensor], keys: Sequence[str], /) -> list[Any]:
        del images
        answers = []
        for key in keys:
            scores = self.scores[key]
            size = scores.shape[1:]
            regions = torch.arange(size.numel()).view(size)
            answers.append(RegionSegmentation(regions, scores.flatten(1).T))
        return answers


def expected_miou(dataset: MemorySet, guesses: Sequence[Tensor]) -> Any:
    pairs = [(m.numpy(), g.numpy()) for m, g in zip(dataset.maps, guesses, strict=True)]
    value = nanmean(intersect_and_union(pairs, classes=range(5), ignore={255}))
    return None if np.isnan(value) else pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("ignore", "ignore"),
        ("class", "class"),
        ("words:sky,  wall", "words:sky, wall"),
        ("threshold:0.25", "threshold:0.25"),
        ("auto:train", "auto:train"),
    ],
)
def test_a_rule_is_written_as_it_is_read(text: str, again: str) -> None:
    rule = BackgroundRule.parse(text)
    assert str(rule) == again
    assert BackgroundRule.parse(str(rule)) == rule
    assert rule.counted == (text != "ignore")


def test_words_come_from_a_list_a_file_or_a_publication(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("sky\n\nbrick wall\n")
    assert BackgroundRule.parse(f"words:{file}").words == ("sky", "brick wall")
    published = BackgroundRule.parse("words:sclip-voc21").words
    assert (len(published), published[0]) == (26, "sky")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("other", "expected ignore, class, words:LIST, .*came 'other'"),
        ("words:", "expected ignore"),
        ("words:sky,Sky", "expected different words"),
        ("threshold:1.5", "probability from 0 to 1, came '1.5'"),
        ("threshold:much", "probability from 0 to 1"),
        ("auto", "name the split to calibrate on"),
    ],
)
def test_a_wrong_rule_says_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BackgroundRule.parse(text)


@given(st.integers(0, 2**32 - 1), st.sampled_from([ScoreSegmenter, RegionSegmenter]))
@settings(max_examples=12)
def test_words_of_background_are_one_class(seed: int, kind: type[ScoreSegmenter]) -> None:
    dataset, scores = case(seed, words=6)
    segmenter = kind(CLASSES, scores)
    segmenter.words = (*segmenter.words, "sky", "wall")
    rule = BackgroundRule.parse("words:sky,wall")
    results = evaluate(segmenter, dataset, background=rule, scoring=POINTS).results
    of_word = torch.tensor([1, 2, 3, 4, 0, 0])
    guesses = [of_word[scores[f"image{i}"].argmax(0)] for i in range(3)]
    assert results["protocols"]["all-background"]["miou"] == expected_miou(dataset, guesses)
    assert results["background_words"] == ["sky", "wall"]
    plain = ScoreSegmenter(CLASSES, {key: s[:4] for key, s in scores.items()})
    ignored = evaluate(plain, dataset, scoring=POINTS).results
    for name, scored in ignored["protocols"].items():
        assert results["protocols"][name] == scored


@given(
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.sampled_from([ScoreSegmenter, RegionSegmenter]),
)
@settings(max_examples=12)
def test_unsure_pixels_are_background(
    seed: int, threshold: float, kind: type[ScoreSegmenter]
) -> None:
    dataset, scores = case(seed)
    rule = BackgroundRule(kind="threshold", threshold=threshold)
    segmenter = kind(CLASSES, scores)
    results = evaluate(segmenter, dataset, background=rule, scoring=POINTS).results
    guesses = []
    for i in range(3):
        sure, word = (scores[f"image{i}"] / 0.07).softmax(0).max(0)
        guesses.append(torch.where(sure < threshold, 0, word + 1))
    assert results["protocols"]["all-background"]["miou"] == expected_miou(dataset, guesses)


def test_label_maps_know_background_by_its_id() -> None:
    dataset, _ = case(0)
    truth = {f"image{i}": m.where(m != 255, 0) for i, m in enumerate(dataset.maps)}
    segmenter = MapSegmenter(CLASSES, truth)
    results = evaluate(segmenter, dataset, background=BackgroundRule(kind="class")).results
    assert results["protocols"]["all-background"]["miou"] == 1
    assert results["protocols"]["all-background"]["iou"]["background"] == 1
    with pytest.raises(ValueError, match="a threshold needs a segmenter that says how sure"):
        evaluate(segmenter, dataset, background=BackgroundRule.parse("threshold:0.5"))


def test_a_set_without_background_refuses_to_count_it() -> None:
    classes = class_list(3)
    dataset = MemorySet(classes, [torch.zeros(2, 2, dtype=torch.int64)])
    segmenter = ScoreSegmenter(classes, {"image0": torch.rand(3, 2, 2)})
    with pytest.raises(ValueError, match="class needs a set with a background class"):
        evaluate(segmenter, dataset, background=BackgroundRule.parse("class"))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=4)
def test_the_calibrated_threshold_is_the_best_of_all_levels(seed: int) -> None:
    dataset, scores = case(seed)
    segmenter = ScoreSegmenter(CLASSES, scores)
    found = calibrate(segmenter, dataset, split="train", scored=frozenset())

    def miou(threshold: float) -> float:
        rule = BackgroundRule(kind="threshold", threshold=threshold)
        result = evaluate(segmenter, dataset, background=rule, scoring=POINTS).results
        return float(result["protocols"]["all-background"]["miou"])

    chosen = miou(found.threshold)
    steps = [i / 32 for i in range(32)]
    assert chosen >= max(map(miou, steps)) - 1e-12
    curve = dict(zip(found.curve["threshold"], found.curve["miou"], strict=True))
    for step in steps[::4]:
        assert curve[step] == pytest.approx(miou(step))


def test_coverage_falls_and_the_choice_is_recorded() -> None:
    dataset, scores = case(3)
    segmenter = ScoreSegmenter(CLASSES, scores)
    found = calibrate(segmenter, dataset, split="train", scored=frozenset(["other"]))
    coverage = [value or 0 for value in found.curve["coverage"]]
    assert coverage == sorted(coverage, reverse=True)
    assert coverage[0] == 1
    rule = BackgroundRule.parse("auto:train")
    result = evaluate(segmenter, dataset, background=rule, abstention=found)
    assert result.results["abstention"]["threshold"] == found.threshold
    assert result.results["abstention"]["split"] == "train"
    assert result.results["risk_coverage"]["coverage"] == found.curve["coverage"]
    assert result.levels is not None
    support = result.images["all"].pooled().sum(1)
    best = miou_by_threshold(result.levels, support, sets=SETS)
    measured = result.results["protocols"]["all-background"]["miou"]
    assert best[round(found.threshold * LEVELS)] == pytest.approx(measured)


def test_images_that_are_scored_choose_no_threshold() -> None:
    dataset, scores = case(0)
    segmenter = ScoreSegmenter(CLASSES, scores)
    with pytest.raises(ValueError, match=r"2 images of train are scored too \(image0, image1\)"):
        calibrate(segmenter, dataset, split="train", scored=frozenset(["image0", "image1", "x"]))
    with pytest.raises(ValueError, match="abstention: expected one with the rule auto"):
        evaluate(segmenter, dataset, background=BackgroundRule.parse("auto:train"))
