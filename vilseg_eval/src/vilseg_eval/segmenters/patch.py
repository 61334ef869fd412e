"""Per-patch classification (the paper's CLIP+Seg): every token named by its nearest word."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vilseg_eval.features import inference
from vilseg_eval.segmenters.base import DenseSegmentation
from vilseg_eval.segmenters.model import ModelSegmenter


class PatchSegmenter(ModelSegmenter):
    """Cosines of every pixel embedding with the words, brought to the image size bilinearly; their
    arg-max names the pixel. The baseline that the clustering head has to beat.

    Arguments as in `ModelSegmenter`.
    """

    name = "patch"

    def segment(
        self, images: Sequence[Tensor], _keys: Sequence[str] = (), /
    ) -> list[DenseSegmentation]:
        """One answer for each uint8 (3, h, w) image."""
        with inference(self.model):
            unit = normalize(self.pixels(images), dim=1)
            cosines = torch.einsum("kd,bdhw->bkhw", self.word_embeddings, unit)
        return [
            DenseSegmentation(cosines[i], (image.shape[1], image.shape[2]))
            for i, image in enumerate(images)
        ]
