"""What the segmenters that run a ViL-Seg model have in common: words, model, image size."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Self

from torch import Tensor

from vilseg_core.models import ViLSeg
from vilseg_data import Tokenizer
from vilseg_eval.features import pixel_features
from vilseg_eval.prompts import PHOTO_TEMPLATE, Prompts


class ModelSegmenter:
    """Holds a model and the embeddings of a word list, (k, d) unit rows.

    The embeddings are computed once, here; make a new segmenter for new words or new weights.

    Args:
        words: what may be named; see `Prompts` for what is refused.
        templates: sentences around each word.
        image_size: side in pixels of the square the model sees; the configuration's if None.
        batch_size: images a forward pass.
    """

    def __init__(
        self,
        model: ViLSeg,
        tokenizer: Tokenizer,
        words: Sequence[str],
        *,
        templates: Sequence[str] = (PHOTO_TEMPLATE,),
        image_size: int | None = None,
        batch_size: int = 8,
    ) -> None:
        for name, value in (("image_size", image_size), ("batch_size", batch_size)):
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        prompts = Prompts(words, templates=templates)
        self.words, self.templates = prompts.words, prompts.templates
        self.word_embeddings = prompts.embed(model, tokenizer)
        self.model = model
        self.image_size = model.config.image.image_size if image_size is None else image_size
        self.batch_size = batch_size

    def with_embeddings(self, words: Sequence[str], embeddings: Tensor) -> Self:
        """The same segmenter over other words: labels of any kind and their unit rows (k, d)."""
        if len(words) != len(embeddings):
            raise ValueError(
                f"embeddings: expected {len(words)} rows, one for each word, got {len(embeddings)}"
            )
        other = copy(self)
        other.words, other.word_embeddings = tuple(words), embeddings
        return other

    def pixels(self, images: Sequence[Tensor]) -> Tensor:
        """(b, d, gh, gw) pixel embeddings of uint8 (3, h, w) images of any sizes."""
        return pixel_features(
            self.model, images, image_size=self.image_size, batch_size=self.batch_size
        )
