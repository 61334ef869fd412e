"""Per-patch classification (the paper's CLIP+Seg): every token named by its nearest word.

Legend: k words, d dimensions, (gh, gw) the token grid, (h, w) one image.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import normalize

from vilseg_eval.features import Encoded
from vilseg_eval.prompts import WordBank
from vilseg_eval.segmenters.base import DenseSegmentation
from vilseg_eval.segmenters.model import ModelSegmenter


@dataclass(frozen=True)
class Patches:
    """Unit features (d, gh, gw) of an image of `size` (h, w)."""

    features: Tensor
    size: tuple[int, int]

    def named(self, bank: WordBank, /) -> DenseSegmentation:
        grid = self.features.shape[1:]
        scores = bank.scores(self.features.flatten(1).T).T
        return DenseSegmentation(scores.reshape(-1, *grid), self.size)


class PatchSegmenter(ModelSegmenter[Patches]):
    """Cosines of every pixel embedding with the words, brought to the image size bilinearly; their
    arg-max names the pixel. The baseline that the clustering head has to beat.

    Arguments as in `ModelSegmenter`; there are no clusters, so that `average`, `upsampling`,
    `refine` and `softness` stay at their defaults.
    """

    name = "patch"

    def _cut(self, encoded: Encoded, image: Tensor) -> Patches:
        return Patches(normalize(encoded.pixels, dim=0), (image.shape[1], image.shape[2]))
