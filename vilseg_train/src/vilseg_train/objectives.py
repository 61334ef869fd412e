"""The three losses of ViL-Seg put together: one batch in, one scalar out (Eq. 1).

Legend: n images of the batch, v local views, p prototypes, c clusters, (h, w) the token grid.
"""

import math
from contextlib import nullcontext
from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn

from vilseg_core import LocalToGlobalLoss, MutualInformationLoss, SymmetricInfoNCE
from vilseg_core.models import ViLSeg
from vilseg_data import InvertibleAugmentation, ViewsConfig


class LossConfig(BaseModel):
    """Weights and options of the three losses; a loss of weight 0 costs nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cross: float = Field(1.0, ge=0, description="weight of L_cross")
    vision: float = Field(0.2, ge=0, description="weight of L_vision")
    cluster: float = Field(1.0, ge=0, description="weight of L_cluster")
    temperature: float = Field(0.07, gt=0, description="of L_cross at the start; learned")
    max_scale: float = Field(100.0, gt=0, description="largest 1 / temperature of L_cross")
    direction: Literal["both", "image_to_text", "text_to_image"] = "both"
    vision_targets: Literal["sinkhorn", "center", "none"] = "sinkhorn"
    local_temperature: float = Field(0.1, gt=0)
    global_temperature: float = Field(0.05, gt=0)
    cluster_start: float = Field(
        0.4, ge=0, le=1, description="share of the steps before L_cluster begins"
    )
    cluster_gradient: Literal["head", "encoder"] = Field(
        "head", description="whether L_cluster teaches the head alone or the encoder as well"
    )
    entropy_weight: float = Field(1.2, gt=0)
    symmetric: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.cross == self.vision == 0 and (self.cluster == 0 or self.cluster_start > 0):
            raise ValueError(
                "cross, vision: expected a weight above 0 for one of them, came 0 for both; give "
                "one, or train the clustering head alone with cluster above 0 and cluster_start=0"
            )
        return self


class Objectives(nn.Module):
    """The weighted sum of L_cross, L_vision and L_cluster, with its views and its own parameters.

    Args:
        config: weights and options.
        views: how the views of an image are made.
        prototypes: p, the outputs of the model's local-to-global projection.
        image_size: side in pixels of the global view, where `views` leaves it open.
    """

    def __init__(
        self, config: LossConfig, *, views: ViewsConfig, prototypes: int, image_size: int
    ) -> None:
        super().__init__()
        self.config = config
        if config.vision == 0:
            views = views.model_copy(update={"num_local": 0})
        self.multicrop = views.multicrop(image_size=image_size)
        self.augmentation: InvertibleAugmentation = views.augmentation()
        self.cross = SymmetricInfoNCE(
            config.temperature, max_scale=config.max_scale, direction=config.direction
        )
        self.vision = LocalToGlobalLoss(
            prototypes,
            local_temperature=config.local_temperature,
            global_temperature=config.global_temperature,
            targets=config.vision_targets,
        )
        self.cluster = MutualInformationLoss(
            entropy_weight=config.entropy_weight, symmetric=config.symmetric
        )

    def cluster_begins(self, total: int) -> int:
        """The first step, of `total`, at which L_cluster is computed."""
        return math.ceil(self.config.cluster_start * total)

    def forward(
        self,
        model: ViLSeg,
        images: Tensor,
        *,
        tokens: Tensor,
        generator: Generator | None,
        step: int,
        total: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and its parts without weights and gradients.

        Args:
            model: the model that is trained.
            images: (n, 3, h, w) floating point in [0, 1].
            tokens: (n, length) int64, one caption for each image.
            generator: where the views come from, on the CPU; None is torch's own.
            step: the number of this step, from 0.
            total: the steps of the whole run.
        """
        views = self.multicrop(images, generator=generator)
        features = model.encode_image(views.global_view)
        loss = features.pooled.new_zeros(())
        parts: dict[str, Tensor] = {}
        if self.config.cross > 0:
            cross = self.cross(features.pooled, model.encode_text(tokens))
            loss = loss + self.config.cross * cross
            parts["cross"] = cross.detach()
            parts["temperature"] = self.cross.logit_scale.detach().exp().reciprocal()
        if self.config.vision > 0:
            vision = self._vision(model, views.local_views, features.pooled)
            loss = loss + self.config.vision * vision
            parts["vision"] = vision.detach()
        if self.config.cluster > 0 and step >= self.cluster_begins(total):
            cluster = self._cluster(
                model, views.global_view, pixels=features.pixels, generator=generator
            )
            loss = loss + self.config.cluster * cluster
            parts["cluster"] = cluster.detach()
        return loss, parts

    def _vision(self, model: ViLSeg, local_views: Tensor, pooled: Tensor) -> Tensor:
        """Eq. 2: what a local view says of the prototypes, against what the global view says."""
        # Unit features: the temperatures are made for cosines, larger logits give targets of one
        # prototype alone.
        local = F.normalize(model.encode_image(local_views.flatten(0, 1)).pooled, dim=1)
        local_logits = model.projection(local).unflatten(0, local_views.shape[:2])
        global_logits = model.projection(F.normalize(pooled, dim=1))
        loss: Tensor = self.vision(local_logits, global_logits)
        self.vision.update(global_logits.detach())
        return loss

    def _cluster(
        self, model: ViLSeg, images: Tensor, *, pixels: Tensor, generator: Generator | None
    ) -> Tensor:
        """Eq. 5-8: clusters of an image against those of its changed copy, mapped back.

        With several heads, the mean over the heads.
        """
        params = self.augmentation.sample(len(images), generator=generator, device=images.device)
        head_only = self.config.cluster_gradient == "head"
        with torch.no_grad() if head_only else nullcontext():
            changed = model.encode_image(self.augmentation.apply(images, params)).pixels
        restored, valid = self.augmentation.invert(changed, params)
        if head_only:
            pixels = pixels.detach()
        first = model.clustering_head.forward_all(pixels)
        second = model.clustering_head.forward_all(restored)
        losses = [self.cluster(a, b, valid) for a, b in zip(first, second, strict=True)]
        return torch.stack(losses).mean()
