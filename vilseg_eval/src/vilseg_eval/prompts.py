"""Words to embeddings: templates filled, encoded, averaged, remembered.

Legend: k words, p phrases (words and their synonyms), t templates, d dimensions of the shared
space.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vilseg_core.models import ViLSeg
from vilseg_data import Tokenizer
from vilseg_eval.features import inference

PHOTO_TEMPLATE = "a photo of a {}"
"""The template of the paper."""

Combine = Literal["mean", "max"]

_SENTENCES: dict[str, tuple[str, ...]] = {
    "single": (PHOTO_TEMPLATE,),
    "vilseg": (PHOTO_TEMPLATE,),
    "simple": ("a photo of a {}.",),
}
_FILES = ("clip80", "sub7")
_SCENES = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
TEMPLATE_SETS = (*_SENTENCES, *_FILES, "maskclip85")
"""Names that `template_set` knows: the paper's template (single, vilseg), the same with a full stop
(simple), CLIP's 80 and the best 7 of them, and MaskCLIP's 85, which adds five about scenes."""

_CHUNK = 256
_REMEMBERED = 2**16


def template_set(name: str) -> tuple[str, ...]:
    """The templates of that name (one of `TEMPLATE_SETS`), or of a text file with one a line.

    Empty lines and lines that begin with # are left out.

    Raises:
        ValueError: neither a name nor a file, or a line without one {} for the word.
    """
    if name in _SENTENCES:
        return _SENTENCES[name]
    if name == "maskclip85":
        return (*template_set("clip80"), *_SCENES)
    if name in _FILES:
        text = (files("vilseg_eval") / "templates" / f"{name}.txt").read_text("utf-8")
    else:
        try:
            text = Path(name).read_text("utf-8")
        except (OSError, ValueError) as error:
            raise ValueError(
                f"templates: expected one of {', '.join(TEMPLATE_SETS)} or a text file with one a "
                f"line, came {name!r}; check the name"
            ) from error
    return _checked_templates(
        [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]
    )


def read_templates(given: Sequence[str]) -> tuple[str, ...]:
    """Sentences with a {} as they are, anything else by `template_set`; each once, in order."""
    found = [
        template for text in given for template in ((text,) if "{}" in text else template_set(text))
    ]
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, init=False)
class Prompts:
    """A word list and the sentences that present it.

    Args:
        words: k different words or phrases; blanks at the ends and repeated blanks are removed.
        templates: t sentences, each with one `{}` for the word.
        synonyms: other names of some of the words.
        combine: what a word with synonyms is: the `"mean"` of their embeddings, or whichever of
            them is nearest (`"max"`).
    """

    words: tuple[str, ...]
    templates: tuple[str, ...]
    synonyms: dict[str, tuple[str, ...]]
    combine: Combine
    phrases: tuple[str, ...]
    owners: tuple[int, ...]

    def __init__(
        self,
        words: Sequence[str],
        *,
        templates: Sequence[str] = (PHOTO_TEMPLATE,),
        synonyms: Mapping[str, Sequence[str]] | None = None,
        combine: Combine = "mean",
    ) -> None:
        combine = combine_of(combine)
        cleaned = clean_words(words)
        others = {" ".join(word.split()): tuple(names) for word, names in (synonyms or {}).items()}
        unknown = [word for word in others if word not in cleaned]
        if unknown:
            raise ValueError(f"synonyms: {unknown} are not among the words; add or remove them")
        phrases = [
            (owner, phrase)
            for owner, word in enumerate(cleaned)
            for phrase in (word, *others.get(word, ()))
        ]
        object.__setattr__(self, "words", cleaned)
        object.__setattr__(self, "templates", _checked_templates(templates))
        object.__setattr__(self, "synonyms", others)
        object.__setattr__(self, "combine", combine)
        object.__setattr__(self, "phrases", clean_words([phrase for _, phrase in phrases]))
        object.__setattr__(self, "owners", tuple(owner for owner, _ in phrases))

    def embed(self, model: ViLSeg, tokenizer: Tokenizer) -> Tensor:
        """The rows of `Vocabulary.bank`, computed anew."""
        return Vocabulary(model, tokenizer).bank(self).rows


@dataclass(frozen=True)
class WordBank:
    """A word list as the model sees it.

    Attributes:
        words: k words.
        rows: unit rows (k, d), or (p, d) where `owners` says whose they are.
        owners: (p,) int64, ascending, each of 0 to k - 1; None: row i is word i.
    """

    words: tuple[str, ...]
    rows: Tensor
    owners: Tensor | None = None

    def scores(self, features: Tensor) -> Tensor:
        """(n, k): features (n, d) times rows, the highest of a word's rows where it has several."""
        scores = features @ self.rows.T
        if self.owners is None:
            return scores
        index = self.owners.expand(len(scores), -1)
        lowest = scores.new_full((len(scores), len(self.words)), -torch.inf)
        return lowest.scatter_reduce(1, index, scores, "amax")


class Vocabulary:
    """Words to embeddings with one model; what was embedded once is remembered.

    The model's weights must not change meanwhile; make a new vocabulary for new weights.

    Args:
        store: where the (d,) embeddings are kept, by template and phrase; the newest 65,536 in
            memory by default.
    """

    def __init__(
        self,
        model: ViLSeg,
        tokenizer: Tokenizer,
        *,
        store: MutableMapping[str, Tensor] | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.store: MutableMapping[str, Tensor] = _Newest() if store is None else store

    def bank(self, prompts: Prompts) -> WordBank:
        """A phrase is the mean over templates of its normalised embeddings, renormalised; with
        `combine="mean"` a word is the mean of its phrases, renormalised.

        Raises:
            ValueError: a word of which the tokenizer leaves nothing, or two words that the model
                cannot tell apart because their tokens are equal.
        """
        _check_tokens(prompts, self.tokenizer)
        keys = ["\n".join((*prompts.templates, phrase)) for phrase in prompts.phrases]
        found = {key: self.store.get(key) for key in keys}
        missing = [i for i, key in enumerate(keys) if found[key] is None]
        if missing:
            rows = self._embed([prompts.phrases[i] for i in missing], prompts.templates)
            for i, row in zip(missing, rows, strict=True):
                found[keys[i]] = self.store[keys[i]] = row
        device = next(self.model.parameters()).device
        rows = torch.stack([row for key in keys if (row := found[key]) is not None]).to(device)
        if len(prompts.phrases) == len(prompts.words):
            return WordBank(prompts.words, rows)
        owners = torch.tensor(prompts.owners, device=device)
        if prompts.combine == "max":
            return WordBank(prompts.words, rows, owners)
        totals = rows.new_zeros(len(prompts.words), rows.shape[1]).index_add(0, owners, rows)
        return WordBank(prompts.words, normalize(totals, dim=-1))

    def _embed(self, phrases: Sequence[str], templates: Sequence[str]) -> Tensor:
        """(p, d) unit rows on the CPU."""
        sentences = [t.replace("{}", phrase) for phrase in phrases for t in templates]
        tokens = self.tokenizer(sentences)
        device = next(self.model.parameters()).device
        with inference(self.model):
            parts = [
                self.model.encode_text(_trimmed(chunk).to(device)).float().cpu()
                for chunk in torch.split(tokens, _CHUNK)
            ]
        unit = normalize(torch.cat(parts), dim=-1)
        return normalize(unit.view(len(phrases), len(templates), -1).mean(1), dim=-1)


class _Newest(dict[str, Tensor]):
    """A dict that forgets the oldest beyond a number of them."""

    def __setitem__(self, key: str, value: Tensor) -> None:
        super().__setitem__(key, value)
        while len(self) > _REMEMBERED:
            del self[next(iter(self))]


def combine_of(name: str) -> Combine:
    """The rule of that name; ValueError for any other."""
    if name == "mean":
        return "mean"
    if name == "max":
        return "max"
    raise ValueError(f"combine: expected mean or max, came {name!r}; choose one of them")


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


def _trimmed(tokens: Tensor) -> Tensor:
    """Without the columns that are padding in every row: no text encoder looks at them, and of
    CLIP's 77 tokens a word needs about 8."""
    # Not the number of tokens that are not 0: "!" is 0, too.
    return tokens[:, : int((tokens != 0).any(0).nonzero()[-1]) + 1]


def _check_tokens(prompts: Prompts, tokenizer: Tokenizer) -> None:
    frame = torch.tensor([0, tokenizer.start_of_text, tokenizer.end_of_text])
    alone = tokenizer(prompts.phrases)
    empty = (torch.isin(alone, frame)).all(1).tolist()
    lost = [word for word, gone in zip(prompts.phrases, empty, strict=True) if gone]
    if lost:
        raise ValueError(f"words: the tokenizer leaves nothing of {lost}; choose other words")
    seen: dict[tuple[int, ...], str] = {}
    rows = tokenizer([prompts.templates[0].replace("{}", word) for word in prompts.phrases])
    for word, row in zip(prompts.phrases, rows.tolist(), strict=True):
        twin = seen.setdefault(tuple(row), word)
        if twin != word:
            raise ValueError(
                f"words: {twin!r} and {word!r} give the model the same tokens "
                f"(context length {tokenizer.context_length}); shorten or replace one of them"
            )


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
