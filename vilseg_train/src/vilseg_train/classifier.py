"""The cosine classifier of self-training, begun at the embeddings of the words.

Legend: b images, k words, d embedding dimension, (h, w) the token grid.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class Classifier(nn.Module):
    """Cosines of pixel features with one learned row a word."""

    def __init__(self, words: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(words.clone())

    def forward(self, pixels: Tensor) -> Tensor:
        """(b, d, h, w) -> (b, k, h, w)."""
        return word_scores(pixels, self.weight)


def word_scores(pixels: Tensor, words: Tensor) -> Tensor:
    """Cosines of pixel features (b, d, h, w) with words (k, d): (b, k, h, w)."""
    return torch.einsum("kd,bdhw->bkhw", normalize(words, dim=1), normalize(pixels, dim=1))
