"""The inference of the paper: cut the image into clusters, name each by the nearest word.

Legend: c clusters, d dimensions, (gh, gw) the token grid, (h, w) one image, r regions present.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize, one_hot

from vilseg_eval.features import inference
from vilseg_eval.segmenters.base import RegionSegmentation, upsampled_argmax
from vilseg_eval.segmenters.model import ModelSegmenter


class ViLSegSegmenter(ModelSegmenter):
    """Cluster logits are brought to the image size bilinearly and their arg-max is the region map;
    a region gets the word whose embedding is nearest (cosine) to its pooled pixel embeddings.

    Arguments as in `ModelSegmenter`.
    """

    name = "vilseg"

    def segment(
        self, images: Sequence[Tensor], _keys: Sequence[str] = (), /
    ) -> list[RegionSegmentation]:
        """One answer for each uint8 (3, h, w) image."""
        with inference(self.model):
            pixels = self.pixels(images)
            logits = self.model.cluster(pixels).float()
            return [
                self._name_regions(pixels[i], logits[i], size=(image.shape[1], image.shape[2]))
                for i, image in enumerate(images)
            ]

    def _name_regions(
        self, pixels: Tensor, logits: Tensor, *, size: tuple[int, int]
    ) -> RegionSegmentation:
        clusters = upsampled_argmax(logits, size=size)
        present, regions = torch.unique(clusters, return_inverse=True)
        masks = region_masks(logits, clusters, present=present)
        features = self.model.pool_regions(pixels[None], masks[None])[0].float()
        return RegionSegmentation(regions, normalize(features, dim=-1) @ self.word_embeddings.T)


def region_masks(logits: Tensor, clusters: Tensor, *, present: Tensor) -> Tensor:
    """(r, gh, gw) weights of the `present` clusters on the token grid.

    A cluster owns the tokens where its logit (c, gh, gw) is the highest. One that wins no token,
    but some pixel between tokens of the (h, w) map, weighs each token by its share of the pixels.
    """
    height, width = logits.shape[1:]
    winners = one_hot(logits.argmax(0), logits.shape[0]).permute(2, 0, 1)[present].to(logits)
    for row in (winners.flatten(1).sum(1) == 0).nonzero().flatten().tolist():
        pixels = (clusters == present[row]).to(logits)
        winners[row] = adaptive_avg_pool2d(pixels[None], (height, width))[0]
    return winners
