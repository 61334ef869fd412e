"""Words, templates, and their embeddings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from vilseg_core.models import ViLSeg
from vilseg_data import Tokenizer
from vilseg_eval import Prompts
from vilseg_eval.prompts import PHOTO_TEMPLATE, clean_words


def test_embeddings_are_the_renormalised_mean_over_templates(
    model: ViLSeg, tokenizer: Tokenizer
) -> None:
    words, templates = ("dog", "red car", "sheep"), ("a photo of a {}", "the {} on grass", "{}")
    embedded = Prompts(words, templates=templates).embed(model, tokenizer)
    with torch.no_grad():
        for row, word in zip(embedded, words, strict=True):
            total = torch.zeros(16)
            for template in templates:
                one = model.encode_text(tokenizer([template.format(word)]))[0]
                total += one / one.norm()
            torch.testing.assert_close(row, normalize(total, dim=0), atol=1e-6, rtol=1e-5)


def test_embedding_leaves_the_model_as_it_was(model: ViLSeg, tokenizer: Tokenizer) -> None:
    model.train()
    embedded = Prompts(["dog"]).embed(model, tokenizer)
    assert model.training
    assert not embedded.requires_grad
    model.eval()
    assert torch.equal(Prompts(["dog"]).embed(model, tokenizer), embedded)


def test_the_default_template_is_that_of_the_paper() -> None:
    assert Prompts(["dog"]).templates == (PHOTO_TEMPLATE,) == ("a photo of a {}",)


@given(st.lists(st.text(alphabet="ab é狗", min_size=1), min_size=1, max_size=5))
def test_words_are_trimmed_kept_in_order_or_refused(words: list[str]) -> None:
    trimmed = [" ".join(word.split()) for word in words]
    if "" in trimmed or len({word.casefold() for word in trimmed}) < len(trimmed):
        with pytest.raises(ValueError, match="words: "):
            clean_words(words)
    else:
        assert clean_words(words) == tuple(trimmed)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "at least one word, got none; name what to look for"),
        (["dog", "  "], "word 2 of 2 is blank; remove it"),
        (["dog", "cat", " DOG "], r"got \['dog'\] more than once .* keep one of each"),
        (["Straße", "STRASSE"], r"got \['strasse'\] more than once"),
        ("dog, cat", "expected a list of words, got one text 'dog, cat'; split it first"),
    ],
)
def test_unusable_word_lists_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Prompts(words)


@pytest.mark.parametrize("templates", [(), "a photo of a {}", ["a photo"], ["{} and {}"]])
def test_unusable_templates_are_refused(templates: list[str]) -> None:
    with pytest.raises(ValueError, match="templates: expected"):
        Prompts(["dog"], templates=templates)


class _LettersOnly:
    """Drops all but ASCII letters, as vocabularies without bytes do."""

    def __init__(self, inner: Tokenizer) -> None:
        self.inner = inner
        self.start_of_text, self.end_of_text = inner.start_of_text, inner.end_of_text
        self.context_length = inner.context_length

    def __call__(self, texts: Sequence[str]) -> Tensor:
        return self.inner([re.sub("[^a-z ]", "", text) for text in texts])


def test_words_that_the_tokenizer_loses_are_refused(model: ViLSeg, tokenizer: Tokenizer) -> None:
    lossy: Any = _LettersOnly(tokenizer)
    with pytest.raises(ValueError, match=r"leaves nothing of \['狗', '!'\]; choose other words"):
        Prompts(["dog", "狗", "!"]).embed(model, lossy)
    with pytest.raises(ValueError, match="'dog' and 'dog!' give the model the same tokens"):
        Prompts(["dog", "dog!"]).embed(model, lossy)


def test_words_that_the_context_cuts_off_are_refused(model: ViLSeg) -> None:
    short = Tokenizer.train(["a photo of a dog"] * 3, vocab_size=300, context_length=6)
    with pytest.raises(ValueError, match=r"same tokens \(context length 6\); shorten or replace"):
        Prompts(["zebra", "giraffe"]).embed(model, short)
