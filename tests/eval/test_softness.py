"""Tokens shared among regions: the formula, and its two limits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.eval.images import random_images
from torch import Tensor
from torch.nn.functional import normalize

from vilseg_core.models import ViLSeg
from vilseg_data import Tokenizer
from vilseg_eval import (
    DenseSegmentation,
    InferenceConfig,
    KMeansSegmenter,
    RegionSegmentation,
    ViLSegSegmenter,
)

WORDS = ("dog", "grass", "red car", "sheep", "person")


def soft(
    model: ViLSeg, tokenizer: Tokenizer, image: Tensor, softness: float
) -> tuple[ViLSegSegmenter, DenseSegmentation]:
    segmenter = ViLSegSegmenter(
        model, tokenizer, WORDS, inference=InferenceConfig(softness=softness)
    )
    (answer,) = segmenter.segment([image])
    assert isinstance(answer, DenseSegmentation)
    return segmenter, answer


@given(softness=st.floats(0.05, 20), seed=st.integers(0, 5))
@settings(max_examples=10)
def test_a_token_has_the_mean_score_of_the_regions_that_share_it(
    model: ViLSeg, tokenizer: Tokenizer, softness: float, seed: int
) -> None:
    (image,) = random_images((32, 32), seed=seed)
    segmenter, answer = soft(model, tokenizer, image, softness)
    (regions,) = segmenter.open([image])
    with torch.no_grad():
        pixels = model.encode_image(image[None] / 255).pixels[0]
        logits = model.cluster(pixels[None])[0]
    present = regions.clusters.tolist()
    height, width = pixels.shape[1:]

    def share(row: int, y: int, x: int) -> float:
        """softmax(logits / softness) over the clusters that are present."""
        own = float(logits[present[row], y, x])
        return 1 / sum(math.exp((float(logits[c, y, x]) - own) / softness) for c in present)

    named = []
    for row in range(len(present)):
        # The pooling of this model is the mean.
        weights = {(y, x): share(row, y, x) for y in range(height) for x in range(width)}
        total = sum(w * pixels[:, y, x] for (y, x), w in weights.items())
        feature = normalize(torch.as_tensor(total), dim=0)
        named.append(segmenter.word_embeddings @ feature)
    for y in range(height):
        for x in range(width):
            expected = sum(share(row, y, x) * scores for row, scores in enumerate(named))
            torch.testing.assert_close(
                answer.scores[:, y, x], torch.as_tensor(expected), atol=1e-4, rtol=1e-4
            )


def test_with_little_softness_a_token_is_of_the_region_that_wins_it(
    model: ViLSeg, tokenizer: Tokenizer
) -> None:
    (image,) = random_images((32, 32), seed=3)
    segmenter, answer = soft(model, tokenizer, image, 1e-4)
    hard = ViLSegSegmenter(model, tokenizer, WORDS)
    (whole,) = hard.segment([image])
    assert isinstance(whole, RegionSegmentation)
    (regions,) = segmenter.open([image])
    with torch.no_grad():
        logits = model.cluster(model.encode_image(image[None] / 255).pixels)[0]
    rows = logits[regions.clusters].argmax(0)
    assert len(set(rows.flatten().tolist())) > 1
    torch.testing.assert_close(
        answer.scores, whole.scores[rows].movedim(-1, 0), atol=1e-4, rtol=1e-4
    )


def test_with_much_softness_every_token_is_the_image_as_a_whole(
    model: ViLSeg, tokenizer: Tokenizer
) -> None:
    (image,) = random_images((32, 32), seed=3)
    segmenter, answer = soft(model, tokenizer, image, 1e6)
    with torch.no_grad():
        pooled = model.encode_image(image[None] / 255).pooled[0]
    scores = segmenter.word_embeddings @ normalize(pooled, dim=0)
    torch.testing.assert_close(
        answer.scores, scores[:, None, None].expand_as(answer.scores), atol=1e-4, rtol=1e-4
    )


def test_kmeans_shares_tokens_by_distance(model: ViLSeg, tokenizer: Tokenizer) -> None:
    (image,) = random_images((32, 32), seed=3)

    def answer(softness: float) -> DenseSegmentation:
        inference = InferenceConfig(softness=softness)
        (found,) = KMeansSegmenter(
            model, tokenizer, WORDS, inference=inference, clusters=4
        ).segment([image])
        assert isinstance(found, DenseSegmentation)
        return found

    little, much = answer(1e-4).scores, answer(1e6).scores
    assert len(torch.unique(little.flatten(1), dim=1).T) >= 4
    assert float((much - much[:, :1, :1]).abs().max()) < 1e-4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"softness": -1.0}, "greater than or equal to 0"),
        ({"softness": 2.0, "refine": 10}, "softness: expected 0 beside refine=10"),
        ({"softness": 2.0, "upsampling": "nearest"}, "upsampling='nearest', which are of whole"),
    ],
)
def test_softness_that_cannot_be_meant_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        InferenceConfig.model_validate(options)
