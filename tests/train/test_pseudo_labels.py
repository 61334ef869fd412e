"""Pseudo labels: the most confident share of every word, and ViL-Seg's own answer on the grid."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vilseg_eval import PatchSegmenter, ViLSegSegmenter
from vilseg_train import open_run
from vilseg_train.classifier import Classifier, word_scores
from vilseg_train.pseudo_labels import IGNORED, keep_confident, region_labels, token_labels

WORDS = ("grass", "brick", "ball")


@settings(deadline=None, max_examples=50)
@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    share=st.floats(0.01, 1.0),
    seed=st.integers(0, 2**31),
)
def test_of_every_word_the_most_confident_share_is_kept(
    labels: list[int], share: float, seed: int
) -> None:
    given_labels = torch.tensor(labels)
    sure = torch.rand(len(labels), generator=torch.Generator().manual_seed(seed))
    kept = keep_confident(given_labels, sure, share=share)
    assert torch.equal(kept[kept != IGNORED], given_labels[kept != IGNORED])
    for word in set(labels):
        own = given_labels == word
        chosen = kept == word
        assert int(chosen.sum()) == max(1, round(share * int(own.sum())))
        if bool((own & ~chosen).any()):
            assert sure[chosen].min() >= sure[own & ~chosen].max()


def test_all_of_them_at_share_one() -> None:
    labels = torch.randint(0, 5, (2, 3, 4), generator=torch.Generator().manual_seed(0))
    assert torch.equal(keep_confident(labels, torch.zeros(2, 3, 4), share=1.0), labels)


def test_ties_go_by_position() -> None:
    kept = keep_confident(torch.zeros(4).long(), torch.ones(4), share=0.5)
    assert kept.tolist() == [0, 0, IGNORED, IGNORED]


@pytest.fixture
def pixels_and_words(finished_run: Path) -> tuple[Tensor, Tensor]:
    run = open_run(finished_run)
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    segmenter = ViLSegSegmenter(run.model, run.tokenizer, WORDS)
    with torch.no_grad():
        return run.model.encode_image(images / 255).pixels, segmenter.word_embeddings


def test_the_first_labels_are_those_of_the_segmenter_on_the_grid(
    finished_run: Path, pixels_and_words: tuple[Tensor, Tensor]
) -> None:
    run, (pixels, words) = open_run(finished_run), pixels_and_words
    with torch.no_grad():
        labels, confidence = region_labels(run.model, pixels, words=words, scale=20.0)
        clusters = run.model.cluster(pixels).argmax(1)
    for image in range(len(pixels)):
        for cluster in torch.unique(clusters[image]):
            mask = clusters[image] == cluster
            feature = run.model.pool_regions(pixels[image][None], mask[None, None])[0, 0]
            cosines = torch.nn.functional.cosine_similarity(feature[None], words)
            assert (labels[image][mask] == cosines.argmax()).all()
            sure = (20 * cosines).softmax(0).max().expand(int(mask.sum()))
            torch.testing.assert_close(confidence[image][mask], sure)


def test_later_labels_are_those_of_the_classifier(
    finished_run: Path, pixels_and_words: tuple[Tensor, Tensor]
) -> None:
    pixels, words = pixels_and_words
    labels, confidence = token_labels(pixels, words=words, scale=20.0)
    scores = Classifier(words)(pixels)
    assert torch.equal(scores, word_scores(pixels, words))
    assert torch.equal(labels, scores.argmax(1))
    torch.testing.assert_close(confidence, (20 * scores).softmax(1).amax(1))
    run = open_run(finished_run)
    segmenter = PatchSegmenter(run.model, run.tokenizer, WORDS)
    torch.testing.assert_close(segmenter.word_embeddings, words)
