"""How sure a segmentation is: the softmax of what it names, by a loop over pixels."""

from __future__ import annotations

from math import exp

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vilseg_core.models import ViLSeg
from vilseg_data import Tokenizer
from vilseg_eval import (
    DenseSegmentation,
    LabelSegmentation,
    PatchSegmenter,
    RegionSegmentation,
    ScoredSegmentation,
    ViLSegSegmenter,
    upsampling,
)
from vilseg_eval.upsampling import upsample

candidate_lists = st.lists(st.integers(0, 4), min_size=1, unique=True)


def probability(scores: list[float], *, scale: float) -> float:
    """Of the highest score."""
    powers = [exp(scale * (score - max(scores))) for score in scores]
    return 1 / sum(powers)


@given(st.integers(0, 2**32 - 1), candidate_lists, st.sampled_from([1.0, 14.3, 100.0]))
@settings(max_examples=30)
def test_confidence_is_the_probability_of_the_label(
    seed: int, candidates: list[int], scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    regions = torch.randint(3, (4, 5), generator=generator)
    scores = 2 * torch.rand(3, 5, generator=generator) - 1
    answer = RegionSegmentation(regions, scores, scale)
    for row, values in zip(regions.tolist(), answer.confidence(candidates).tolist(), strict=True):
        for region, value in zip(row, values, strict=True):
            chosen = [scores[region, c].item() for c in candidates]
            assert value == pytest.approx(probability(chosen, scale=scale), abs=1e-5)
    grid = 2 * torch.rand(5, 2, 3, generator=generator) - 1
    dense = DenseSegmentation(grid, (4, 7), scale)
    expected = (scale * upsample(grid[sorted(candidates)], size=(4, 7))).softmax(0).amax(0)
    assert torch.allclose(dense.confidence(candidates), expected, atol=1e-5)


def test_words_of_a_large_image_are_taken_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = DenseSegmentation(torch.rand(5, 2, 3), (6, 8))
    whole = dense.confidence(range(5))
    monkeypatch.setattr(upsampling, "_VALUES_AT_ONCE", 2 * 6 * 8)
    assert torch.allclose(dense.confidence(range(5)), whole, atol=1e-6)


def test_only_answers_with_scores_say_how_sure_they_are() -> None:
    assert not isinstance(LabelSegmentation(lambda: torch.zeros(1, 1), 1), ScoredSegmentation)
    assert isinstance(DenseSegmentation(torch.rand(1, 1, 1), (1, 1)), ScoredSegmentation)


@pytest.mark.parametrize("kind", [ViLSegSegmenter, PatchSegmenter])
def test_other_rows_are_the_segmenter_built_with_those_words(
    kind: type[PatchSegmenter], model: ViLSeg, tokenizer: Tokenizer
) -> None:
    one, two = kind(model, tokenizer, ["dog", "grass"]), kind(model, tokenizer, ["sheep", "car"])
    moved = one.with_embeddings(["a [x]", "b [x]"], two.word_embeddings)
    assert (moved.words, one.words) == (("a [x]", "b [x]"), ("dog", "grass"))
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    (expected,), (answer,) = two.segment([image], [""]), moved.segment([image], [""])
    assert torch.equal(answer.labels([0, 1]), expected.labels([0, 1]))
    with pytest.raises(ValueError, match="embeddings: expected 1 rows, one for each word, got 2"):
        one.with_embeddings(["a"], two.word_embeddings)
