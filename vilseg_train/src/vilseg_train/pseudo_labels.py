"""Labels for tokens of images that nobody labelled: what a model predicts with most confidence.

Legend: b images, d embedding dimension, k words, c clusters, (h, w) the token grid.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from vilseg_core.models import ViLSeg
from vilseg_train.classifier import word_scores

IGNORED = -1


def region_labels(
    model: ViLSeg, pixels: Tensor, *, words: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """ViL-Seg's own answer on the token grid: each cluster's region gets the nearest word.

    A token is as sure as its region. Its own similarity to the label would choose the tokens that
    need no teacher: those which the word is nearest to already.

    Returns:
        labels: (b, h, w) int64 words.
        confidence: (b, h, w), the label's share of softmax(scale x cosines) of the region.
    """
    clusters = model.cluster(pixels).argmax(1)
    count = model.config.cluster.clusters
    masks = one_hot(clusters, count).movedim(-1, 1).to(pixels.dtype)
    regions = normalize(model.pool_regions(pixels, masks), dim=-1)
    shares = (scale * (regions @ normalize(words, dim=1).T)).softmax(-1)
    confidence, named = shares.max(-1)
    places = clusters.flatten(1)
    return (
        named.gather(1, places).view_as(clusters),
        confidence.gather(1, places).view_as(clusters),
    )


def token_labels(pixels: Tensor, *, words: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The nearest word of every token, and its share of softmax(scale x cosines)."""
    confidence, labels = (scale * word_scores(pixels, words)).softmax(1).max(1)
    return labels, confidence


def keep_confident(labels: Tensor, confidence: Tensor, *, share: float) -> Tensor:
    """The labels of the most confident `share` of the tokens of each word, at least one of each;
    `IGNORED` elsewhere. Both of one shape, tokens of any number of images; ties go by position."""
    flat, sure = labels.flatten(), confidence.flatten()
    kept = torch.full_like(flat, IGNORED)
    for word in torch.unique(flat).tolist():
        places = (flat == word).nonzero().flatten()
        best = sure[places].argsort(descending=True, stable=True)
        chosen = places[best[: max(1, round(share * len(places)))]]
        kept[chosen] = word
    return kept.view_as(labels)
