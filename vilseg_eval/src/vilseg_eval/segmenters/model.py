"""What the segmenters that run a ViL-Seg model have in common: words, model, the way of an image.

Legend: k words, d dimensions of the shared space, (h, w) one image.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, Self, TypeVar

from torch import Tensor

from vilseg_core.models import ViLSeg
from vilseg_data import Tokenizer
from vilseg_eval.features import Encoded, encode_images, inference
from vilseg_eval.framing import InferenceConfig
from vilseg_eval.prompts import PHOTO_TEMPLATE, Combine, Prompts, Vocabulary, WordBank
from vilseg_eval.segmenters.base import DenseSegmentation, RegionSegmentation

Named = RegionSegmentation | DenseSegmentation


class Unnamed(Protocol):
    """An image after all work in which words play no part."""

    def named(self, bank: WordBank, /) -> Named:
        """The answer for the words of `bank`, in milliseconds."""
        ...


_Opened = TypeVar("_Opened", bound=Unnamed)


class ModelSegmenter(Generic[_Opened]):
    """Holds a model and the embeddings of a word list.

    The embeddings are computed once, here; `with_words` gives the same segmenter with others. The
    model's weights must not change meanwhile.

    Args:
        words: what may be named; see `Prompts` for what is refused.
        templates: sentences around each word.
        synonyms: other names of some of the words.
        combine: the `"mean"` or the `"max"` over a word's names.
        inference: how images go through the model and how the answer comes back to their size.
        vocabulary: remembers embeddings; one of its own where left out.
    """

    name: str

    def __init__(
        self,
        model: ViLSeg,
        tokenizer: Tokenizer,
        words: Sequence[str],
        *,
        templates: Sequence[str] = (PHOTO_TEMPLATE,),
        synonyms: Mapping[str, Sequence[str]] | None = None,
        combine: Combine = "mean",
        inference: InferenceConfig | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        self.model = model
        self.inference = inference or InferenceConfig()
        self.framing = self.inference.fitted(
            image_size=model.config.image.image_size, patch_size=model.image_encoder.patch_size
        )
        self.vocabulary = vocabulary or Vocabulary(model, tokenizer)
        self._name(Prompts(words, templates=templates, synonyms=synonyms, combine=combine))

    @property
    def words(self) -> tuple[str, ...]:
        return self.bank.words

    @property
    def word_embeddings(self) -> Tensor:
        """Unit rows (k, d); with the maximum over synonyms a row for each of those."""
        return self.bank.rows

    @property
    def settings(self) -> dict[str, Any]:
        """What else decides the numbers, for the record of a result."""
        synonyms = self.synonyms
        return {
            **self.inference.model_dump(exclude={"batch_size"}),
            "image_size": self.framing.image_size,
            "stride": self.framing.stride,
            **({"synonyms": synonyms, "combine": self._combine} if synonyms else {}),
        }

    def segment(self, images: Sequence[Tensor], _keys: Sequence[str] = (), /) -> list[Named]:
        """One answer for each uint8 (3, h, w) image."""
        return [image.named(self.bank) for image in self.open(images)]

    def open(
        self, images: Sequence[Tensor], *, encoded: Sequence[Encoded] | None = None
    ) -> list[_Opened]:
        """Each uint8 (3, h, w) image encoded (unless it comes so) and cut: `named` does the rest.

        `vilseg_eval.ImageSession` is the same for one image and words as they come.
        """
        with inference(self.model):
            ready = self.encode(images) if encoded is None else encoded
            return [self._cut(x, image) for x, image in zip(ready, images, strict=True)]

    def encode(self, images: Sequence[Tensor]) -> list[Encoded]:
        """Each uint8 (3, h, w) image after the encoder."""
        with inference(self.model):
            return encode_images(
                self.model,
                images,
                framing=self.framing,
                batch_size=self.inference.batch_size,
                logits=self.inference.average == "logits" and self._wants_logits,
            )

    def with_words(
        self,
        words: Sequence[str],
        *,
        templates: Sequence[str] | None = None,
        synonyms: Mapping[str, Sequence[str]] | None = None,
        combine: Combine = "mean",
    ) -> Self:
        """The same segmenter for other words; templates as before where left out."""
        other = copy.copy(self)
        other._name(
            Prompts(
                words, templates=templates or self.templates, synonyms=synonyms, combine=combine
            )
        )
        return other

    def with_embeddings(self, words: Sequence[str], embeddings: Tensor) -> Self:
        """The same segmenter over other rows: labels and unit embeddings (k, d) as they are."""
        if len(words) != len(embeddings):
            raise ValueError(
                f"embeddings: expected {len(words)} rows, one for each word, got {len(embeddings)}"
            )
        other = copy.copy(self)
        other.bank = WordBank(tuple(words), embeddings.to(self.bank.rows))
        other.synonyms = {}
        return other

    _wants_logits = False

    def _cut(self, encoded: Encoded, image: Tensor) -> _Opened:
        raise NotImplementedError

    def _name(self, prompts: Prompts) -> None:
        self.bank = self.vocabulary.bank(prompts)
        self.templates = prompts.templates
        self.synonyms = prompts.synonyms
        self._combine = prompts.combine
