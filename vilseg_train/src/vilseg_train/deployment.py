"""What an export computes: images and word embeddings to regions, their scores and labels.

Legend: b images of side s, d embedding dimension, c clusters, k words, (h, w) the token grid.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, normalize

from vilseg_core.models import ViLSeg


class Deployment(nn.Module):
    """The inference of `ViLSegSegmenter` as one graph without branches, text encoder left out.

    Images come at the model's own size; words come as embeddings, so that a word list can change
    without the text encoder.
    """

    def __init__(self, model: ViLSeg) -> None:
        super().__init__()
        self.image_encoder = model.image_encoder
        self.clustering_head = model.clustering_head
        self.region_pooling = model.region_pooling

    def forward(self, images: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (b, 3, s, s), floats in [0, 1], and words (k, d), of any norm.

        Returns:
            labels: (b, s, s) int64, the word of each pixel.
            clusters: (b, s, s) int64, the cluster of each pixel.
            scores: (b, c, k), cosine of each cluster's region with each word; 0 where it is empty.
        """
        pixels = self.image_encoder(images).pixels.float()
        logits = self.clustering_head(pixels).float()
        size = (images.shape[-2], images.shape[-1])
        clusters = interpolate(logits, size=size, mode="bilinear", align_corners=False).argmax(1)
        masks = self._masks(logits, clusters)
        regions = normalize(self.region_pooling(pixels, masks), dim=-1)
        scores = regions @ normalize(words, dim=-1).T
        labels = scores.argmax(-1).gather(1, clusters.flatten(1)).view_as(clusters)
        return labels, clusters, scores

    def _masks(self, logits: Tensor, clusters: Tensor) -> Tensor:
        """(b, c, h, w): the tokens a cluster wins, or its share of the pixels where it wins none.

        As `vilseg_eval.segmenters.regions.region_masks`, for a whole batch.
        """
        numbers = torch.arange(logits.shape[1], device=logits.device)[:, None, None]
        won = (logits.argmax(1, keepdim=True) == numbers).float()
        patch = clusters.shape[-1] // logits.shape[-1]
        shares = avg_pool2d((clusters[:, None] == numbers).float(), patch)
        return torch.where(won.flatten(2).sum(-1)[..., None, None] > 0, won, shares)
