"""Forms of answers, and both model segmenters on a tiny model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.eval.images import random_images
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate, normalize

from vilseg_core.models import ViLSeg
from vilseg_data import Tokenizer
from vilseg_eval import (
    DenseSegmentation,
    InferenceConfig,
    KMeansSegmenter,
    LabelSegmentation,
    PatchSegmenter,
    RegionSegmentation,
    Segmentation,
    ViLSegSegmenter,
)
from vilseg_eval.segmenters.regions import region_masks

WORDS = ("dog", "grass", "red car", "sheep", "person")
SIZES = ((32, 32), (17, 45), (1, 1), (3, 70), (64, 21))


KINDS = (ViLSegSegmenter, PatchSegmenter, KMeansSegmenter)


@pytest.fixture(params=KINDS)
def segmenter(request: pytest.FixtureRequest, model: ViLSeg, tokenizer: Tokenizer) -> Any:
    return request.param(model, tokenizer, WORDS, inference=InferenceConfig(batch_size=2))


def labels_of(answer: Segmentation, candidates: list[int] | range = range(5)) -> Tensor:
    labels = answer.labels(candidates)
    assert labels is not None
    return labels


def distinct(labels: Tensor) -> set[int]:
    return set(labels.flatten().tolist())


def test_every_image_gets_words_at_its_own_size(segmenter: Any) -> None:
    answers = segmenter.segment(random_images(*SIZES), [f"key{i}" for i in range(len(SIZES))])
    for answer, size in zip(answers, SIZES, strict=True):
        labels = labels_of(answer)
        assert labels.shape == size
        assert labels.dtype == torch.int64
        assert int(labels.min()) >= 0
        assert int(labels.max()) < len(WORDS)


@given(candidates=st.lists(st.integers(0, 4), min_size=1, unique=True))
@settings(max_examples=5)
def test_labels_stay_within_the_candidates(
    model: ViLSeg, tokenizer: Tokenizer, candidates: list[int]
) -> None:
    for kind in KINDS:
        (answer,) = kind(model, tokenizer, WORDS).segment(random_images((20, 31)), ["a"])
        assert distinct(labels_of(answer, candidates)) <= set(candidates)


def test_an_image_is_segmented_alike_alone_and_in_a_batch(segmenter: Any) -> None:
    images = random_images(*SIZES)
    together = [labels_of(answer) for answer in segmenter.segment(images, [""] * 5)]
    for image, labels in zip(images, together, strict=True):
        (alone,) = segmenter.segment([image], [""])
        assert (labels_of(alone) == labels).float().mean() > 0.99


def test_the_model_keeps_its_mode_and_gets_no_gradients(segmenter: Any, model: ViLSeg) -> None:
    model.train()
    (answer,) = segmenter.segment(random_images((32, 32)), [""])
    assert model.training
    assert not segmenter.word_embeddings.requires_grad
    assert not answer.scores.requires_grad
    model.eval()


def test_patch_labels_are_the_nearest_words_of_the_upsampled_cosines(
    model: ViLSeg, tokenizer: Tokenizer
) -> None:
    segmenter = PatchSegmenter(model, tokenizer, WORDS)
    (image,) = random_images((32, 32))
    (answer,) = segmenter.segment([image], [""])
    with torch.no_grad():
        pixels = model.encode_image(image[None] / 255).pixels[0]
    cosines = torch.stack(
        [
            cosine_similarity(pixels, word[:, None, None], dim=0)
            for word in segmenter.word_embeddings
        ]
    )
    torch.testing.assert_close(answer.scores, cosines)
    full = interpolate(cosines[None], size=(32, 32), mode="bilinear", align_corners=False)[0]
    assert torch.equal(labels_of(answer), full.argmax(0))


def test_regions_are_named_by_the_word_nearest_to_their_mean_feature(
    model: ViLSeg, tokenizer: Tokenizer
) -> None:
    segmenter = ViLSegSegmenter(model, tokenizer, WORDS)
    (image,) = random_images((32, 32), seed=3)
    (answer,) = segmenter.segment([image], [""])
    with torch.no_grad():
        pixels = model.encode_image(image[None] / 255).pixels
        logits = model.cluster(pixels)
    full = interpolate(logits, size=(32, 32), mode="bilinear", align_corners=False)[0].argmax(0)
    on_grid = logits[0].argmax(0)
    labels = labels_of(answer)
    assert len(distinct(on_grid)) > 1
    for cluster in distinct(on_grid):
        mean = pixels[0][:, on_grid == cluster].mean(1)
        nearest = (segmenter.word_embeddings @ normalize(mean, dim=0)).argmax()
        assert set(labels[full == cluster].tolist()) <= {int(nearest)}


def test_with_one_region_of_one_feature_both_segmenters_agree(
    model: ViLSeg, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    feature = torch.randn(16, generator=torch.Generator().manual_seed(1))
    constant = feature.view(1, 16, 1, 1).expand(1, 16, 4, 4)

    class Features:
        pixels = constant

    monkeypatch.setattr(model, "encode_image", lambda _: Features)
    images = random_images((9, 14))
    (regions,) = ViLSegSegmenter(model, tokenizer, WORDS).segment(images, [""])
    (patches,) = PatchSegmenter(model, tokenizer, WORDS).segment(images, [""])
    assert torch.equal(labels_of(regions), labels_of(patches))
    assert len(distinct(labels_of(regions))) == 1


def test_a_cluster_that_wins_no_token_pools_by_its_share_of_pixels() -> None:
    # Cluster 2 is second on both tokens and first between them.
    logits = torch.tensor([[[3.0, -3.0]], [[-3.0, 3.0]], [[1.0, 1.0]]])
    clusters = interpolate(logits[None], size=(1, 8), mode="bilinear", align_corners=False)[0]
    clusters = clusters.argmax(0)
    assert distinct(clusters) == {0, 1, 2}
    masks = region_masks(logits, clusters, present=torch.tensor([0, 1, 2]))
    assert masks[0].tolist() == [[1, 0]]
    assert masks[1].tolist() == [[0, 1]]
    expected = [(half == 2).float().mean().item() for half in (clusters[0, :4], clusters[0, 4:])]
    assert masks[2].flatten().tolist() == pytest.approx(expected)
    assert min(expected) > 0


def test_answers_without_scores_know_only_their_whole_word_list() -> None:
    answer = LabelSegmentation(lambda: torch.tensor([[0, 2]]), 3)
    assert torch.equal(labels_of(answer, range(3)), torch.tensor([[0, 2]]))
    assert answer.labels([0, 2]) is None


@pytest.mark.parametrize("candidates", [[], [0, 5], [-1]])
def test_impossible_candidates_are_refused(candidates: list[int]) -> None:
    scores = torch.rand(5, 2, 2)
    answers: list[Segmentation] = [
        DenseSegmentation(scores, (2, 2)),
        RegionSegmentation(torch.zeros(2, 2, dtype=torch.int64), scores[:, 0].T),
        LabelSegmentation(lambda: torch.zeros(2, 2, dtype=torch.int64), 5),
    ]
    for answer in answers:
        with pytest.raises(ValueError, match="candidates: expected word indices from 0 to 4"):
            answer.labels(candidates)


def test_images_must_be_uint8_rgb(segmenter: Any) -> None:
    for wrong in (torch.rand(3, 4, 4), torch.zeros(4, 4, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"images: expected uint8 \(3, h, w\)"):
            segmenter.segment([wrong], [""])
    with pytest.raises(ValueError, match="images: expected at least one, got none"):
        segmenter.segment([], [])
