"""The three losses of ViL-Seg, and those of one's own, put together: one batch in, one scalar out.

Eq. 1. Legend: n images of the batch, p prototypes.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator
from torch import Generator, Tensor, nn

from vilseg_core import CompositeLoss, LocalToGlobalLoss, MutualInformationLoss, SymmetricInfoNCE
from vilseg_core.distributed import ProcessGroup
from vilseg_core.losses.tables import LossTable, read_tables
from vilseg_core.models import ViLSeg
from vilseg_data import InvertibleAugmentation, ViewsConfig
from vilseg_train.encoders import Asked, Encoders, StepViews
from vilseg_train.outputs import CHANGED_OUTPUTS, LOCAL_OUTPUTS, OUTPUTS, StepOutputs
from vilseg_train.recorded import RESERVED
from vilseg_train.vital_signs import cluster_signs, contrast_signs, target_signs


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
    def extra_outputs(self) -> frozenset[str]:
        """The outputs that the losses of one's own take."""
        return frozenset(name for table in self.active_extra for name in table.outputs)

    @property
    def local_views(self) -> bool:
        """Whether any loss takes local views."""
        return self.vision > 0 or bool(LOCAL_OUTPUTS & self.extra_outputs)

    @property
    def asked(self) -> Asked:
        """The features that these losses take."""
        extra = self.extra_outputs
        clusters = self.cluster > 0 or "cluster_logits" in extra
        through = self.cluster_gradient == "encoder"
        return Asked(
            image=self.cross > 0 or self.vision > 0 or bool({"image", "global_logits"} & extra),
            pixels=clusters or "pixels" in extra,
            pixel_gradient="pixels" in extra or (clusters and through),
            text=self.cross > 0 or "text" in extra,
            local=self.local_views,
            changed_gradient=through,
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
        group: processes whose batches are joined; None means this process alone. Losses of one's
            own see the rows of this process and are averaged over the processes.

    Raises:
        ValueError: a loss of `config.extra` cannot be imported or made.
    """

    def __init__(
        self,
        config: LossConfig,
        *,
        views: ViewsConfig,
        prototypes: int,
        image_size: int,
        group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.group = group
        if not config.local_views:
            views = views.model_copy(update={"num_local": 0})
        self.multicrop = views.multicrop(image_size=image_size)
        self.augmentation: InvertibleAugmentation = views.augmentation()
        self.cross = SymmetricInfoNCE(
            config.temperature,
            max_scale=config.max_scale,
            direction=config.direction,
            group=group,
        )
        self.vision = LocalToGlobalLoss(
            prototypes,
            local_temperature=config.local_temperature,
            global_temperature=config.global_temperature,
            targets=config.vision_targets,
            group=group,
        )
        self.cluster = MutualInformationLoss(
            channel_dim=2,
            head_dim=0,
            entropy_weight=config.entropy_weight,
            symmetric=config.symmetric,
            group=group,
        )
        try:
            self.extra = CompositeLoss.from_config(config.extra)
        except ValueError as error:
            raise ValueError(f"loss.extra: {error}") from error

    def cluster_begins(self, total: int) -> int:
        """The first step, of `total`, at which L_cluster is computed."""
        return math.ceil(self.config.cluster_start * total)

    def clusters(self, step: int, *, total: int) -> bool:
        """Whether L_cluster is computed at `step`, from 0, of `total`."""
        return self.config.cluster > 0 and step >= self.cluster_begins(total)

    def draw(
        self,
        images: Tensor,
        *,
        generator: Generator | None,
        rows: tuple[int, int] | None = None,
        step: int,
        total: int,
    ) -> StepViews:
        """The views of (n, 3, h, w) that the losses of `step` take.

        rows: (first, total) where these are rows of a joined batch, whose views they get.
        """
        views = self.multicrop(images, generator=generator, rows=rows)
        local = views.local_views.transpose(0, 1) if self.config.local_views else None
        changed = changes = None
        if self.clusters(step, total=total) or CHANGED_OUTPUTS & self.config.extra_outputs:
            first, count = rows or (0, len(images))
            drawn = self.augmentation.sample(count, generator=generator, device=images.device)
            changes = drawn[first : first + len(images)]
            changed = self.augmentation.apply(views.global_view, changes)
        return StepViews(views.global_view, local, changed, changes)

    def outputs(
        self, features: Mapping[str, Tensor], *, model: ViLSeg, views: StepViews, tokens: Tensor
    ) -> StepOutputs:
        """What the losses take, from what the encoders gave (by `Encoders.names`)."""
        changes, invert = views.changes, self.augmentation.invert
        undo = None if changes is None else partial(invert, params=changes)
        return StepOutputs(
            features,
            images=views.images,
            tokens=tokens,
            clustering_head=model.clustering_head,
            projection=model.projection,
            undo=undo,
            head_only=self.config.cluster_gradient == "head",
        )

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
            step, total: the number of this step, from 0, and the steps of the whole run.
        """
        outputs = self.outputs_of(
            model, images, tokens=tokens, generator=generator, step=step, total=total
        )
        return self.loss(outputs, step=step, total=total)

    def outputs_of(
        self,
        model: ViLSeg,
        images: Tensor,
        *,
        tokens: Tensor,
        generator: Generator | None,
        step: int,
        total: int,
    ) -> StepOutputs:
        """What the losses of a batch take; the arguments are those of `forward`."""
        views = self.draw(images, generator=generator, step=step, total=total)
        encoders = Encoders(model, self.config.asked)
        rows = encoders.rows(views, tokens)
        features = dict(zip(encoders.names(rows), encoders(**rows), strict=True))
        return self.outputs(features, model=model, views=views, tokens=tokens)

    def loss(
        self, outputs: StepOutputs, *, step: int, total: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As `forward`, from the outputs of a step."""
        loss = self.cross.logit_scale.new_zeros(())
        parts: dict[str, Tensor] = {}
        if self.config.cross > 0:
            cross = self.cross(outputs.image, outputs.text)
            loss = loss + self.config.cross * cross
            parts["cross"] = cross.detach()
            parts["temperature"] = self.cross.logit_scale.detach().exp().reciprocal()
            parts |= contrast_signs(outputs.image, outputs.text, group=self.group)
        if self.config.vision > 0:
            # Eq. 2: what a local view says of the prototypes, against what the global view says.
            vision = self.vision(outputs.local_logits, outputs.global_logits)
            parts |= target_signs(self._targets(outputs.global_logits.detach()), group=self.group)
            self.vision.update(outputs.global_logits.detach())
            loss = loss + self.config.vision * vision
            parts["vision"] = vision.detach()
        if self.clusters(step, total=total):
            # Eq. 5-8: clusters of an image against those of its changed copy, the mean over heads.
            cluster = self.cluster(outputs.heads, outputs.changed_heads, outputs.valid.squeeze(1))
            loss = loss + self.config.cluster * cluster
            parts["cluster"] = cluster.detach()
            parts |= cluster_signs(outputs.cluster_logits, group=self.group)
        extra, values = self.extra(outputs)
        return loss + extra, parts | values

    def _targets(self, global_logits: Tensor) -> Tensor:
        targets: Tensor = self.vision.targets(
            global_logits, temperature=self.vision.global_temperature
        )
        return targets
