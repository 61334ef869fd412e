"""One image under many word lists is what segmenting it anew would say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.eval.images import random_images

from vilseg_core.models import ViLSeg
from vilseg_data import Tokenizer
from vilseg_eval import (
    ImageSession,
    InferenceConfig,
    KMeansSegmenter,
    PatchSegmenter,
    ViLSegSegmenter,
)

WORDS = ("dog", "grass", "red car", "sheep", "person")
KINDS = (ViLSegSegmenter, PatchSegmenter, KMeansSegmenter)


@given(words=st.lists(st.sampled_from(WORDS), min_size=1, unique=True))
@settings(max_examples=6)
def test_new_words_on_an_open_image_are_a_new_segmenter_s(
    model: ViLSeg, tokenizer: Tokenizer, words: list[str]
) -> None:
    (image,) = random_images((20, 31))
    candidates = range(len(words))
    for kind in KINDS:
        session = ImageSession(kind(model, tokenizer, ["else"]), image)
        (expected,) = kind(model, tokenizer, words).segment([image])
        found = session.segment(words)
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-6, rtol=1e-5)
        same = torch.eq(found.labels(candidates), expected.labels(candidates))
        assert same.float().mean() > 0.99


def test_the_image_is_encoded_once(
    model: ViLSeg, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    encode = model.encode_image

    def counting(images: torch.Tensor) -> Any:
        calls.append(len(images))
        return encode(images)

    monkeypatch.setattr(model, "encode_image", counting)
    (image,) = random_images((32, 32))
    session = ImageSession(ViLSegSegmenter(model, tokenizer, WORDS), image)
    own = session.segment()
    session.segment(["sheep"], templates=["the {}"])
    session.segment(["sheep"], synonyms={"sheep": ["dog"]}, combine="max")
    assert calls == [1]
    assert torch.equal(own.labels(range(5)), session.segment(WORDS).labels(range(5)))


def test_a_segmenter_takes_other_words_and_other_rows(model: ViLSeg, tokenizer: Tokenizer) -> None:
    (image,) = random_images((32, 32))
    first = ViLSegSegmenter(model, tokenizer, WORDS)
    second = first.with_words(["sheep", "dog"], templates=["the {}"])
    assert (first.words, second.words) == (WORDS, ("sheep", "dog"))
    assert second.templates == ("the {}",)
    third = first.with_embeddings(["x", "y"], first.word_embeddings[[3, 0]])
    (all_words,), (two,) = first.segment([image]), third.segment([image])
    torch.testing.assert_close(two.scores, all_words.scores[:, [3, 0]])
    with pytest.raises(ValueError, match="embeddings: expected 1 rows, one for each word, got 2"):
        first.with_embeddings(["x"], first.word_embeddings[:2])


def test_features_kept_from_before_need_no_encoder(model: ViLSeg, tokenizer: Tokenizer) -> None:
    images = random_images((32, 32), (20, 31))
    for average in ("features", "logits"):
        config = InferenceConfig.model_validate({"average": average})
        segmenter = ViLSegSegmenter(model, tokenizer, WORDS, inference=config)
        kept = segmenter.encode(images)
        again = segmenter.open(images, encoded=kept)
        for first, second in zip(segmenter.open(images), again, strict=True):
            assert torch.equal(first.map, second.map)
