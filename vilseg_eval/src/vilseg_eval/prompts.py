"""Words to embeddings: templates filled, encoded, averaged.

Legend: k words, t templates, d dimensions of the shared space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vilseg_core.models import ViLSeg
from vilseg_data import Tokenizer
from vilseg_eval.features import inference

PHOTO_TEMPLATE = "a photo of a {}"
"""The template of the paper."""

_CHUNK = 256


@dataclass(frozen=True, init=False)
class Prompts:
    """A word list and the sentences that present it.

    Args:
        words: k different words or phrases; blanks at the ends and repeated blanks are removed.
        templates: t sentences, each with one `{}` for the word.
    """

    words: tuple[str, ...]
    templates: tuple[str, ...]

    def __init__(
        self, words: Sequence[str], *, templates: Sequence[str] = (PHOTO_TEMPLATE,)
    ) -> None:
        object.__setattr__(self, "words", clean_words(words))
        object.__setattr__(self, "templates", _checked_templates(templates))

    def embed(self, model: ViLSeg, tokenizer: Tokenizer) -> Tensor:
        """(k, d), unit rows: the mean over templates of the normalised embeddings, renormalised.

        Raises:
            ValueError: a word of which the tokenizer leaves nothing, or two words that the model
                cannot tell apart because their tokens are equal.
        """
        self._check_tokens(tokenizer)
        sentences = [t.replace("{}", word) for word in self.words for t in self.templates]
        tokens = tokenizer(sentences).to(next(model.parameters()).device)
        with inference(model):
            parts = [model.encode_text(chunk).float() for chunk in torch.split(tokens, _CHUNK)]
        unit = normalize(torch.cat(parts), dim=-1)
        return normalize(unit.view(len(self.words), len(self.templates), -1).mean(1), dim=-1)

    def _check_tokens(self, tokenizer: Tokenizer) -> None:
        frame = torch.tensor([0, tokenizer.start_of_text, tokenizer.end_of_text])
        alone = tokenizer(self.words)
        empty = (torch.isin(alone, frame)).all(1).tolist()
        lost = [word for word, gone in zip(self.words, empty, strict=True) if gone]
        if lost:
            raise ValueError(f"words: the tokenizer leaves nothing of {lost}; choose other words")
        seen: dict[tuple[int, ...], str] = {}
        rows = tokenizer([self.templates[0].replace("{}", word) for word in self.words])
        for word, row in zip(self.words, rows.tolist(), strict=True):
            twin = seen.setdefault(tuple(row), word)
            if twin != word:
                raise ValueError(
                    f"words: {twin!r} and {word!r} give the model the same tokens "
                    f"(context length {tokenizer.context_length}); shorten or replace one of them"
                )


def clean_words(words: Sequence[str]) -> tuple[str, ...]:
    """The words with blanks trimmed; ValueError if none are left or one comes twice."""
    if isinstance(words, str):
        raise ValueError(f"words: expected a list of words, got one text {words!r}; split it first")
    cleaned = tuple(" ".join(word.split()) for word in words)
    if not cleaned:
        raise ValueError("words: expected at least one word, got none; name what to look for")
    if "" in cleaned:
        raise ValueError(
            f"words: word {cleaned.index('') + 1} of {len(cleaned)} is blank; remove it"
        )
    folded = [word.casefold() for word in cleaned]
    repeated = sorted({word for word in folded if folded.count(word) > 1})
    if repeated:
        raise ValueError(
            f"words: expected different words, got {repeated} more than once "
            "(capitals and blanks make no difference); keep one of each"
        )
    return cleaned


def _checked_templates(templates: Sequence[str]) -> tuple[str, ...]:
    if isinstance(templates, str) or not templates:
        raise ValueError(
            f"templates: expected a list of sentences with {{}} for the word, got {templates!r}"
        )
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(
                f"templates: expected one {{}} for the word in each, got {template!r}; "
                f"write for instance {PHOTO_TEMPLATE!r}"
            )
    return tuple(templates)
