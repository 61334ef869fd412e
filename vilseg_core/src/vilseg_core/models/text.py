"""Text encoder: CLIP's causal transformer, or a bag of words.

n = texts, l = tokens, w = width, d = embedding dimension. Token 0 is padding.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vilseg_core.models.config import TextEncoderConfig
from vilseg_core.models.pretrained_text import load_text_weights


def quick_gelu(features: Tensor) -> Tensor:
    """x sigmoid(1.702 x), with which OpenAI's CLIP was trained."""
    return features * torch.sigmoid(1.702 * features)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quick_gelu": quick_gelu}


class TextEncoder(nn.Module):
    """Tokens to one embedding a text.

    A text ends at its first `end_of_text` token (at its last token that is not padding where it has
    none); what follows has no influence. With `pooling="mean"` the features of the tokens up to
    and including the end are averaged; without layers these are plain word embeddings, in no order.

    Args:
        config: the encoder.
        embed_dim: d.
    """

    def __init__(self, config: TextEncoderConfig, *, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        if config.layers:
            self.positional_embedding = nn.Parameter(
                torch.empty(config.context_length, config.width)
            )
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.Sequential(
            *(
                Block(
                    config.width,
                    heads=config.heads,
                    dropout=config.dropout,
                    activation=ACTIVATIONS[config.activation],
                )
                for _ in range(config.layers)
            )
        )
        self.ln_final = nn.LayerNorm(config.width)
        self.projection = nn.Linear(config.width, embed_dim, bias=False)
        self._initialise()
        if config.checkpoint is not None:
            load_text_weights(self, config.checkpoint)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, l) int64, l at most `context_length` -> (n, d), of any norm.

        Raises:
            ValueError: the shape, the dtype or the length is not as above.
        """
        self._check(tokens)
        features = self.token_embedding(tokens)
        if self.config.layers:
            features = features + self.positional_embedding[: tokens.shape[1]]
        features = self.blocks(self.dropout(features))
        embedding: Tensor = self.projection(self.ln_final(self._pool(features, tokens)))
        return embedding

    def _pool(self, features: Tensor, tokens: Tensor) -> Tensor:
        """(n, l, w) -> (n, w)."""
        last = self._last_token(tokens)
        if self.config.pooling == "end_of_text":
            return features[torch.arange(tokens.shape[0], device=tokens.device), last]
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        kept = (positions <= last[:, None]).to(features.dtype)
        return torch.bmm(kept.unsqueeze(1), features).squeeze(1) / (last + 1).unsqueeze(1)

    def _last_token(self, tokens: Tensor) -> Tensor:
        """Position of the end of each text: (n, l) -> (n,)."""
        ends = tokens == self.config.end_of_text
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        last_word = torch.where(tokens != 0, positions, 0).amax(1)
        return torch.where(ends.any(1), ends.int().argmax(1), last_word)

    def _check(self, tokens: Tensor) -> None:
        if tokens.ndim != 2 or tokens.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"tokens: expected integers of shape (n, length), came {tokens.dtype} of shape "
                f"{tuple(tokens.shape)}; pass the tokenizer's output."
            )
        if not 1 <= tokens.shape[1] <= self.config.context_length:
            raise ValueError(
                f"tokens: expected 1 to {self.config.context_length} tokens a text, came "
                f"{tokens.shape[1]}; build the tokenizer with "
                f"context_length={self.config.context_length}."
            )

    def _initialise(self) -> None:
        """CLIP's initial weights: residual branches shrink with depth."""
        width, layers = self.config.width, self.config.layers
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.projection.weight, std=width**-0.5)
        if not layers:
            return
        nn.init.normal_(self.positional_embedding, std=0.01)
        residual = width**-0.5 * (2 * layers) ** -0.5
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.normal_(block.qkv.weight, std=width**-0.5)
            nn.init.normal_(block.out.weight, std=residual)
            nn.init.normal_(block.expand.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.contract.weight, std=residual)
            for linear in (block.qkv, block.out, block.expand, block.contract):
                nn.init.zeros_(linear.bias)


class Block(nn.Module):
    """Causal self-attention and a feed-forward part, each after a norm and beside a skip."""

    def __init__(
        self, width: int, *, heads: int, dropout: float, activation: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.heads = heads
        self.activation = activation
        self.ln_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.ln_feed = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """(n, l, w) -> (n, l, w)."""
        features = features + self.dropout(self._attend(self.ln_attention(features)))
        hidden = self.activation(self.expand(self.ln_feed(features)))
        fed: Tensor = features + self.dropout(self.contract(hidden))
        return fed

    def _attend(self, features: Tensor) -> Tensor:
        query, key, value = rearrange(
            self.qkv(features),
            "n l (three heads c) -> three n heads l c",
            three=3,
            heads=self.heads,
        )
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.out(rearrange(attended, "n heads l c -> n l (heads c)"))
        return out
