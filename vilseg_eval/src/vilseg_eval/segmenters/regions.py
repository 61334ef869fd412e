"""The inference of the paper: cut the image into clusters, name each by the nearest word.

Legend: c clusters, k words, d dimensions, (gh, gw) the token grid, (h, w) one image, r regions
present in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize, one_hot

from vilseg_eval.features import Encoded
from vilseg_eval.prompts import WordBank
from vilseg_eval.refine import refine, shrink, working_size
from vilseg_eval.segmenters.base import DenseSegmentation, RegionSegmentation
from vilseg_eval.segmenters.model import ModelSegmenter, Named
from vilseg_eval.upsampling import nearest, upsample, upsampled_argmax


@dataclass(frozen=True)
class Regions:
    """An image cut into regions that have no name yet.

    Attributes:
        map: (h, w) int64 row numbers.
        features: (r, d) unit rows.
        clusters: (r,) int64, the cluster that each region is.
        shares: (r, gh, gw), how much of each token belongs to each region, in all 1; None where
            a pixel is of the region of `map` alone.
    """

    map: Tensor
    features: Tensor
    clusters: Tensor
    shares: Tensor | None = None

    def named(self, bank: WordBank, /) -> Named:
        return self.answer(bank.scores(self.features))

    def answer(self, scores: Tensor, /) -> Named:
        """The same from what each region resembles, (r, k)."""
        if self.shares is None:
            return RegionSegmentation(self.map, scores)
        mixed = torch.einsum("ryx,rk->kyx", self.shares, scores)
        return DenseSegmentation(mixed, (self.map.shape[0], self.map.shape[1]))


class RegionSegmenter(ModelSegmenter[Regions]):
    """Cluster logits are brought to the image size and their arg-max is the region map; a region
    gets the word whose embedding is nearest (cosine) to its pooled pixel embeddings. With
    `InferenceConfig.softness` tokens are shared among regions instead, and named one by one.
    """

    _wants_logits = True

    @property
    def clusters(self) -> int:
        """How many clusters there are to choose from."""
        return self.model.config.cluster.clusters

    def cluster_maps(self, images: Sequence[Tensor]) -> list[Tensor]:
        """(h, w) int64 clusters of each uint8 (3, h, w) image: what the regions are."""
        return [regions.clusters[regions.map] for regions in self.open(images)]

    def _cluster(self, encoded: Encoded) -> Tensor:
        """Cluster logits (c, gh, gw) of one image."""
        raise NotImplementedError

    def _cut(self, encoded: Encoded, image: Tensor) -> Regions:
        logits = self._cluster(encoded)
        clusters = self._map(logits, image)
        counts = torch.bincount(clusters.flatten(), minlength=len(logits))
        present = counts.nonzero().flatten()
        row = torch.full_like(counts, -1)
        row[present] = torch.arange(len(present), device=row.device)
        softness = self.inference.softness
        shares = (logits[present] / softness).softmax(0) if softness else None
        masks = region_masks(logits, clusters, present=present) if shares is None else shares
        features = self.model.pool_regions(encoded.pixels[None], masks[None])[0].float()
        return Regions(row[clusters], normalize(features, dim=-1), present, shares)

    def _map(self, logits: Tensor, image: Tensor) -> Tensor:
        """(h, w) int64: the cluster of every pixel."""
        size = (image.shape[1], image.shape[2])
        rule, passes = self.inference.upsampling, self.inference.refine
        if passes:
            small = working_size(*size)
            maps = (
                upsample(logits, size=small).softmax(0)
                if rule == "logits"
                else upsample(logits.softmax(0), size=small)
                if rule == "softmax"
                else _one_map_each(nearest(logits.argmax(0), size=small), count=len(logits))
            )
            return upsampled_argmax(
                refine(shrink(image, size=small), maps, passes=passes), size=size
            )
        if rule == "nearest":
            return nearest(logits.argmax(0), size=size)
        return upsampled_argmax(logits.softmax(0) if rule == "softmax" else logits, size=size)


class ViLSegSegmenter(RegionSegmenter):
    """The online clustering head of the model cuts the image.

    Arguments as in `ModelSegmenter`.
    """

    name = "vilseg"

    def _cluster(self, encoded: Encoded) -> Tensor:
        if encoded.logits is not None:
            return encoded.logits
        return self.model.cluster(encoded.pixels[None])[0].float()


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


def _one_map_each(labels: Tensor, *, count: int) -> Tensor:
    """(count, h, w) float: 1 where the label is the number of the map."""
    return one_hot(labels, count).permute(2, 0, 1).float()
