"""The views of a run, as configuration."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vilseg_data.views.checks import Chance, check_chance, check_range
from vilseg_data.views.invertible import InvertibleAugmentation
from vilseg_data.views.multicrop import CHANCES, MultiCrop

Share = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]


class ViewsConfig(BaseModel):
    """Crops for the local-to-global loss and the augmentation for the clustering loss.

    Fields mean what they mean in `MultiCrop` and in `InvertibleAugmentation`; there,
    `augmentation_flip` and `zoom` are called `flip` and `scale`. `global_size=0` takes the
    size of the images. A probability of a view is one number, or two as (global, local).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    global_size: int = Field(default=0, ge=0)
    local_size: int = Field(default=96, ge=1)
    num_local: int = Field(default=6, ge=0)
    global_scale: Range = (0.5, 1.0)
    local_scale: Range = (0.05, 0.4)
    ratio: Range = (3 / 4, 4 / 3)
    flip: Chance = 0.5
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: float = Field(default=0.0, ge=0, le=0.5)
    jitter: Chance = 1.0
    grey: Chance = 0.0
    blur: Chance = 0.0
    blur_sigma: Range = (0.1, 2.0)
    solarise: Chance = 0.0
    solarise_threshold: Share = 0.5
    gain: float = Field(default=0.3, ge=0, le=0.99)
    bias: Share = 0.1
    augmentation_flip: Share = 0.5
    quarter_turn: Share = 0.0
    degrees: float = Field(default=0.0, ge=0, le=180)
    translate: Share = 0.0
    zoom: Range = (1.0, 1.0)

    @model_validator(mode="after")
    def _check(self) -> "ViewsConfig":
        for name in ("global_scale", "local_scale"):
            check_range(getattr(self, name), name=name, high=1.0)
        for name in ("ratio", "zoom", "blur_sigma"):
            check_range(getattr(self, name), name=name, high=float("inf"))
        for name in CHANCES:
            check_chance(getattr(self, name), name=name)
        return self

    def multicrop(self, *, image_size: int) -> MultiCrop:
        """The multi-crop; `image_size` is the side of the run's images in pixels."""
        return MultiCrop(
            global_size=self.global_size or image_size,
            local_size=self.local_size,
            num_local=self.num_local,
            global_scale=self.global_scale,
            local_scale=self.local_scale,
            ratio=self.ratio,
            flip=self.flip,
            brightness=self.brightness,
            contrast=self.contrast,
            saturation=self.saturation,
            hue=self.hue,
            jitter=self.jitter,
            grey=self.grey,
            blur=self.blur,
            blur_sigma=self.blur_sigma,
            solarise=self.solarise,
            solarise_threshold=self.solarise_threshold,
        )

    def augmentation(self) -> InvertibleAugmentation:
        """The invertible augmentation."""
        return InvertibleAugmentation(
            gain=self.gain,
            bias=self.bias,
            flip=self.augmentation_flip,
            quarter_turn=self.quarter_turn,
            degrees=self.degrees,
            translate=self.translate,
            scale=self.zoom,
        )
