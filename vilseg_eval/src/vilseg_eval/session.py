"""One image, many word lists: what words play no part in is done once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from vilseg_eval.prompts import Combine, Prompts
from vilseg_eval.segmenters.model import ModelSegmenter, Named, Unnamed


class ImageSession:
    """An image that a segmenter has encoded and cut; any words name it in milliseconds.

    Words are embedded when they come for the first time and remembered by the segmenter's
    vocabulary, together with all other sessions of that segmenter.

    Args:
        segmenter: any that runs a ViL-Seg model; its own words are those of `segment()`.
        image: uint8 (3, h, w).
    """

    def __init__(self, segmenter: ModelSegmenter[Any], image: Tensor) -> None:
        self.segmenter = segmenter
        self.opened: Unnamed
        (self.opened,) = segmenter.open([image])

    def segment(
        self,
        words: Sequence[str] | None = None,
        *,
        templates: Sequence[str] | None = None,
        synonyms: Mapping[str, Sequence[str]] | None = None,
        combine: Combine = "mean",
    ) -> Named:
        """The image by `words`: the segmenter's own, with its templates, where left out."""
        if words is None:
            return self.opened.named(self.segmenter.bank)
        prompts = Prompts(
            words,
            templates=templates or self.segmenter.templates,
            synonyms=synonyms,
            combine=combine,
        )
        return self.opened.named(self.segmenter.vocabulary.bank(prompts))
