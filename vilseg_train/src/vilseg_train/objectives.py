"""The three losses of ViL-Seg, and those of one's own, put together: one batch in, one scalar out.

Eq. 1. Legend: n images of the batch, p prototypes.
"""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator
from torch import Generator, Tensor, nn

from vilseg_core import CompositeLoss, LocalToGlobalLoss, MutualInformationLoss, SymmetricInfoNCE
from vilseg_core.losses.tables import LossTable, read_tables
from vilseg_core.models import ViLSeg
from vilseg_data import InvertibleAugmentation, ViewsConfig
from vilseg_train.outputs import LOCAL_OUTPUTS, OUTPUTS, StepOutputs

# What the record of a step calls something else.
RESERVED = (
    "cluster",
    "cross",
    "gradient_norm",
    "images_per_second",
    "loss",
    "lr",
    "retrieval",
    "samples",
    "skipped",
    "step",
    "temperature",
    "vision",
)


class LossConfig(BaseModel):
    """Weights and options of the three losses; a loss of weight 0 costs nothing.

    `extra` adds losses of one's own, any importable class or function, over the outputs that
    `vilseg_train.outputs.OUTPUTS` lists:

        [[loss.extra]]
        name = "spread"                     # its value is recorded under this name
        loss = "my_package.losses:Spread"
        weight = 0.1
        inputs = ["image"]
        options = {margin = 0.5}            # of the class, or further ones of the function
        keyword_inputs = {mask = "valid"}

    What such a loss learns is trained and saved as the temperature is. Its module is imported when
    a run trains, not when one is opened for evaluation.
    """

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
    extra: tuple[dict[str, JsonValue], ...] = Field((), description="losses of one's own")

    @field_validator("extra")
    @classmethod
    def _check_extra(
        cls, tables: tuple[dict[str, JsonValue], ...]
    ) -> tuple[dict[str, JsonValue], ...]:
        for table in read_tables(tables):
            if table.name in RESERVED:
                raise ValueError(
                    f"{table.where}: name: {table.name!r} is recorded already; choose another"
                )
            table.check_outputs(OUTPUTS)
        return tables

    @property
    def active_extra(self) -> list[LossTable]:
        """The losses of one's own that have a weight."""
        return [table for table in read_tables(self.extra) if table.weight != 0]

    @property
    def local_views(self) -> bool:
        """Whether any loss takes local views."""
        return self.vision > 0 or any(
            LOCAL_OUTPUTS.intersection(table.outputs) for table in self.active_extra
        )

    @model_validator(mode="after")
    def _check(self) -> Self:
        begins_later = self.cluster == 0 or self.cluster_start > 0
        if self.cross == self.vision == 0 and begins_later and not self.active_extra:
            raise ValueError(
                "cross, vision: expected a weight above 0 for one of them, came 0 for both; give "
                "one, or train the clustering head alone with cluster above 0 and cluster_start=0"
            )
        return self


class Objectives(nn.Module):
    """The weighted sum of L_cross, L_vision, L_cluster and the losses of one's own.

    It holds its views and its own parameters.

    Args:
        config: weights and options.
        views: how the views of an image are made.
        prototypes: p, the outputs of the model's local-to-global projection.
        image_size: side in pixels of the global view, where `views` leaves it open.

    Raises:
        ValueError: a loss of `config.extra` cannot be imported or made.
    """

    def __init__(
        self, config: LossConfig, *, views: ViewsConfig, prototypes: int, image_size: int
    ) -> None:
        super().__init__()
        self.config = config
        if not config.local_views:
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
            channel_dim=2,
            head_dim=0,
            entropy_weight=config.entropy_weight,
            symmetric=config.symmetric,
        )
        try:
            self.extra = CompositeLoss.from_config(config.extra)
        except ValueError as error:
            raise ValueError(f"loss.extra: {error}") from error

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
        outputs = StepOutputs(
            model,
            views=self.multicrop(images, generator=generator),
            tokens=tokens,
            augmentation=self.augmentation,
            generator=generator,
            head_only=self.config.cluster_gradient == "head",
        )
        loss = outputs.image.new_zeros(())
        parts: dict[str, Tensor] = {}
        if self.config.cross > 0:
            cross = self.cross(outputs.image, outputs.text)
            loss = loss + self.config.cross * cross
            parts["cross"] = cross.detach()
            parts["temperature"] = self.cross.logit_scale.detach().exp().reciprocal()
        if self.config.vision > 0:
            # Eq. 2: what a local view says of the prototypes, against what the global view says.
            vision = self.vision(outputs.local_logits, outputs.global_logits)
            self.vision.update(outputs.global_logits.detach())
            loss = loss + self.config.vision * vision
            parts["vision"] = vision.detach()
        if self.config.cluster > 0 and step >= self.cluster_begins(total):
            # Eq. 5-8: clusters of an image against those of its changed copy, the mean over heads.
            cluster = self.cluster(outputs.heads, outputs.changed_heads, outputs.valid.squeeze(1))
            loss = loss + self.config.cluster * cluster
            parts["cluster"] = cluster.detach()
        extra, values = self.extra(outputs)
        return loss + extra, parts | values
