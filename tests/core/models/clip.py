"""CLIP written out from its paper and its weights' names: the oracle of the key maps.

Keys of the state dict are OpenAI's. Activation: x sigmoid(1.702 x), or GELU as in open_clip.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Residual(nn.Module):
    def __init__(self, width: int, heads: int, *, quick: bool, causal: bool) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, 4 * width),
                gelu=QuickGELU() if quick else nn.GELU(),
                c_proj=nn.Linear(4 * width, width),
            )
        )
        self.ln_2 = nn.LayerNorm(width)
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        mask = torch.full((length, length), float("-inf")).triu(1) if self.causal else None
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        fed: Tensor = x + self.mlp(self.ln_2(x))
        return fed


class Transformer(nn.Module):
    def __init__(self, width: int, *, layers: int, heads: int, quick: bool, causal: bool) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(
            *(Residual(width, heads, quick=quick, causal=causal) for _ in range(layers))
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.resblocks(x)
        return out


class Visual(nn.Module):
    def __init__(
        self, *, size: int, patch: int, width: int, layers: int, heads: int, out: int, quick: bool
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn((size // patch) ** 2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers=layers, heads=heads, quick=quick, causal=False)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, out) / width**0.5)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        patches = self.conv1(images).flatten(2).mT
        first = self.class_embedding.expand(len(images), 1, -1)
        x = self.ln_pre(torch.cat([first, patches], 1) + self.positional_embedding)
        x = self.ln_post(self.transformer(x)) @ self.proj
        return x[:, 0], x[:, 1:]


class Clip(nn.Module):
    """Random weights, norms and biases included."""

    def __init__(
        self, *, size: int, patch: int, width: int, text_width: int, layers: int, heads: int,
        vocab: int, context: int, out: int, quick: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.visual = Visual(
            size=size, patch=patch, width=width, layers=layers, heads=heads, out=out, quick=quick
        )
        self.transformer = Transformer(
            text_width, layers=layers, heads=heads, quick=quick, causal=True
        )
        self.token_embedding = nn.Embedding(vocab, text_width)
        self.positional_embedding = nn.Parameter(torch.randn(context, text_width))
        self.ln_final = nn.LayerNorm(text_width)
        self.text_projection = nn.Parameter(torch.randn(text_width, out) / text_width**0.5)
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if "bias" in name or "ln_" in name:
                    parameter.add_(0.3 * torch.randn_like(parameter))

    def encode_image(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images -> feature of the class token (b, d), of the patches (b, hw, d)."""
        found: tuple[Tensor, Tensor] = self.visual(images)
        return found

    def encode_text(self, tokens: Tensor) -> Tensor:
        """The end of the text is its largest token."""
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        x = self.ln_final(self.transformer(x))
        ends = x[torch.arange(len(x)), tokens.argmax(-1)]
        out: Tensor = ends @ self.text_projection
        return out
