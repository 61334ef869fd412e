"""The part of a step that treats every row by itself: images, views and captions to features.

Legend: n rows, v local views, d embedding dimension, (g, g) a global view, (l, l) a local one,
(h, w) the token grid, t the length of a caption.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vilseg_core.models import ViLSeg
from vilseg_core.models.image import ImageFeatures
from vilseg_data.views import AugmentationParams


@dataclass(frozen=True)
class Asked:
    """Which features the losses of a run take, and whether they teach the encoders.

    Attributes:
        image: pooled features of the global views.
        pixels: pixel features of the global views.
        pixel_gradient: whether a loss teaches the encoder through these.
        text: features of the captions.
        local: pooled features of the local views.
        changed_gradient: whether a loss teaches the encoder through the changed copies.
    """

    image: bool
    pixels: bool
    pixel_gradient: bool
    text: bool
    local: bool
    changed_gradient: bool

    @property
    def teaches(self) -> bool:
        """Whether any gradient reaches the encoders."""
        return self.image or self.pixel_gradient or self.text or self.local


class StepViews(NamedTuple):
    """What the encoders of a step see: rows first, floats in [0, 1].

    Attributes:
        images: (n, 3, g, g), the global views.
        local: (n, v, 3, l, l), None where no loss takes them.
        changed: (n, 3, g, g), changed copies of the global views, None where no loss takes them.
        changes: what was done to these.
    """

    images: Tensor
    local: Tensor | None
    changed: Tensor | None
    changes: AugmentationParams | None


class Encoders(nn.Module):
    """The encoders of a model as one module, rows first in everything, so that rows can be split.

    Args:
        model: the model that is trained; its encoders are this module's.
        asked: the features to give.
        compiled: whether to run them through `torch.compile`, a graph for each size of view.
        checkpointed: whether to keep the input of each transformer block alone and compute the
            rest again in the backward pass.
    """

    def __init__(
        self, model: ViLSeg, asked: Asked, *, compiled: bool = False, checkpointed: bool = False
    ) -> None:
        super().__init__()
        self.asked = asked
        self.image_encoder = model.image_encoder
        self.text_encoder = model.text_encoder
        if checkpointed:
            _checkpoint_blocks(model)
        # Beside the modules, not among them: the same parameters under a second name.
        self._run: dict[str, Callable[[Tensor], Any]] = {
            name: torch.compile(module, dynamic=False) if compiled else module
            for name, module in (("image", self.image_encoder), ("text", self.text_encoder))
        }

    def forward(
        self,
        images: Tensor,
        *,
        tokens: Tensor | None = None,
        local: Tensor | None = None,
        changed: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """The features that `names` lists, in that order.

        Args:
            images: (n, 3, g, g), the global views.
            tokens: (n, t) int64.
            local: (n, v, 3, l, l).
            changed: (n, 3, g, g), changed copies of the global views.
        """
        asked = self.asked
        found: list[Tensor] = []
        if asked.image or asked.pixels:
            features = self._images(images, gradient=asked.image or asked.pixel_gradient)
            found += [features.pooled] if asked.image else []
            pixels = features.pixels
            found += [pixels if asked.pixel_gradient else pixels.detach()] if asked.pixels else []
        if tokens is not None:
            found.append(self._run["text"](_some(tokens))[: len(tokens)])
        if local is not None:
            # Views first: (v n, 3, l, l) in one pass.
            pooled = self._images(local.transpose(0, 1).flatten(0, 1), gradient=True).pooled
            by_view = torch.unflatten(pooled, 0, (local.shape[1], local.shape[0]))
            found.append(by_view.transpose(0, 1))
        if changed is not None:
            found.append(self._images(changed, gradient=asked.changed_gradient).pixels)
        return tuple(found)

    def rows(self, views: StepViews, tokens: Tensor) -> dict[str, Tensor]:
        """The arguments of `forward` for a batch."""
        given = {
            "images": views.images,
            "tokens": tokens if self.asked.text else None,
            "local": views.local,
            "changed": views.changed,
        }
        return {name: value for name, value in given.items() if value is not None}

    def names(self, rows: Collection[str]) -> list[str]:
        """The features that such arguments give: "image" (n, d), "pixels" (n, d, h, w), "text"
        (n, d), "local_image" (n, v, d), "changed" (n, d, h, w)."""
        given = {
            "image": self.asked.image,
            "pixels": self.asked.pixels,
            "text": "tokens" in rows,
            "local_image": "local" in rows,
            "changed": "changed" in rows,
        }
        return [name for name, is_given in given.items() if is_given]

    def _images(self, images: Tensor, *, gradient: bool) -> ImageFeatures:
        with torch.set_grad_enabled(gradient and torch.is_grad_enabled()):
            features: ImageFeatures = self._run["image"](_some(images))
        if len(images):
            return features
        return ImageFeatures(*(feature[:0] for feature in features))


def _some(rows: Tensor) -> Tensor:
    """`rows`, or one of zeros where a rank has none, as timm's encoders want at least one; their
    parameters then get zeros from this rank, as they should."""
    return rows if len(rows) else rows.new_zeros((1, *rows.shape[1:]))


def _checkpoint_blocks(model: ViLSeg) -> None:
    # timm's own way, and the same for the blocks of the text encoder.
    model.image_encoder.backbone.set_grad_checkpointing(True)
    for block in model.text_encoder.blocks:
        block.forward = partial(_again, block.forward)


def _again(forward: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return forward(features)
    output: Tensor = checkpoint(forward, features, use_reentrant=False)
    return output
