"""What a model is made of. The defaults are the paper's scale."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

try:
    from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
except ImportError as error:
    raise ImportError(
        "vilseg_core.models needs pydantic; install it with: pip install 'vilseg-core[models]'"
    ) from error

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Triple = tuple[float, float, float]

# What `options` may not say, because a field of its own, or the model, says it.
_RESERVED = {
    "num_classes": "the model sets it",
    "global_pool": "use image.pooling",
    "fc_norm": "the model sets it",
    "img_size": "use image.image_size",
    "dynamic_img_size": "the model sets it",
    "dynamic_img_pad": "the model sets it",
    "pretrained": "use image.pretrained",
    "checkpoint_path": "use image.checkpoint",
    "in_chans": "images have three channels",
    "embed_layer": "use image.stem",
}


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageEncoderConfig(_Config):
    """A timm vision transformer and how its tokens become features.

    `name` and `options` go to `timm.create_model`; options override the named model (`embed_dim`,
    `depth`, `num_heads`, `mlp_ratio`, `patch_size`, `class_token` and the like). `stem="conv"`
    replaces the patch projection by stride-2 3x3 convolutions. `pooling` makes the global feature;
    `sharpness` is that of `"lse"`. `pretrained` downloads timm's weights, `checkpoint` reads a
    local file. `mean` and `std` normalise images in [0, 1]; CLIP's.

    `name` may also be "package.module:Name", an encoder of one's own (see `models.own`), whose
    `options` are its own; it takes from the other fields what it likes.
    """

    name: str = "vit_base_patch16_clip_224"
    image_size: PositiveInt = 224
    options: dict[str, int | float | bool | str] = {}
    stem: Literal["patch", "conv"] = "patch"
    pooling: Literal["cls", "mean", "max", "lse", "attention"] = "cls"
    sharpness: PositiveFloat = 6.0
    pretrained: bool = False
    checkpoint: Path | None = None
    mean: Triple = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.26862954, 0.26130258, 0.27577711)

    @property
    def patch_size(self) -> int | None:
        """Side of a patch in pixels, from the options or the name; None where neither says it."""
        size = self.options.get("patch_size")
        if size is None:
            found = re.search(r"patch(\d+)", self.name)
            return int(found.group(1)) if found else None
        return int(size)

    @model_validator(mode="after")
    def _options_are_free(self) -> Self:
        for key in self.options:
            if key in _RESERVED:
                raise ValueError(f"options: {key!r} cannot be set here; {_RESERVED[key]}")
        return self

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        patch = self.options.get("patch_size")
        if patch is not None and (isinstance(patch, bool) or not isinstance(patch, int)):
            raise ValueError(f"options: patch_size must be a whole number, came {patch!r}")
        size = self.patch_size
        if size is None:
            return self
        if size < 1:
            raise ValueError(f"options: patch_size must be at least 1, came {size}")
        if self.image_size % size:
            near = max(self.image_size // size, 1) * size
            raise ValueError(
                f"image_size: {self.image_size} is not divisible by the patch size {size}; "
                f"set image_size to {near} or {near + size}, or change options.patch_size"
            )
        if self.stem == "conv" and (size < 2 or size & (size - 1)):
            raise ValueError(
                f"stem: 'conv' halves the image until a patch is a pixel, so the patch size must "
                f"be a power of two, came {size}; use 8 or 16, or stem='patch'"
            )
        return self

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        for key in ("embed_dim", "num_heads"):
            value = self.options.get(key, 1)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"options: {key} must be a whole number of at least 1, came {value!r}; "
                    "leave it out to keep the named model's"
                )
        width, heads = self.options.get("embed_dim"), self.options.get("num_heads")
        if width is not None and heads is not None and int(width) % int(heads):
            raise ValueError(
                f"options: num_heads={heads} does not divide embed_dim={width}; "
                "choose a number of heads that divides the width"
            )
        return self

    @model_validator(mode="after")
    def _class_token_is_there(self) -> Self:
        if self.pooling == "cls" and not self.options.get("class_token", True):
            raise ValueError(
                "pooling: 'cls' reads the class token, which options.class_token=false removes; "
                "use pooling 'mean', 'max', 'lse' or 'attention', or keep the class token"
            )
        return self

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.pretrained and self.checkpoint is not None:
            raise ValueError(
                "checkpoint: weights can come from one place, and pretrained=true is another; "
                "set one of the two"
            )
        if self.pretrained and self.stem == "conv":
            raise ValueError(
                "pretrained: published weights belong to a patch stem; set stem='patch' or "
                "pretrained=false"
            )
        return self


class TextEncoderConfig(_Config):
    """CLIP's text transformer; `layers=0` with `pooling="mean"` is a bag of words.

    `name` may also be "package.module:Name", an encoder of one's own (see `models.own`), to whom
    `options` belong. `checkpoint` reads a local file in CLIP's or open_clip's layout; OpenAI's
    weights were trained with `activation="quick_gelu"`.
    """

    name: str = "clip"
    options: dict[str, int | float | bool | str] = {}
    checkpoint: Path | None = None
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    vocab_size: Annotated[int, Field(ge=2)] = 49408
    context_length: PositiveInt = 77
    width: PositiveInt = 512
    layers: Annotated[int, Field(ge=0)] = 12
    heads: PositiveInt = 8
    pooling: Literal["end_of_text", "mean"] = "end_of_text"
    end_of_text: int = 49407
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _name_is_known(self) -> Self:
        if self.name != "clip" and ":" not in self.name:
            raise ValueError(
                f'name: expected "clip" or "package.module:Name", came {self.name!r}; name one'
            )
        if self.name == "clip" and self.options:
            raise ValueError(
                f"options: expected none for CLIP's text transformer, came {list(self.options)}; "
                "they are for an encoder of your own, named by text.name"
            )
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.layers == 0 and self.pooling == "end_of_text":
            raise ValueError(
                "pooling: 'end_of_text' without layers sees no word of the text; "
                "use pooling='mean' (a bag of words), or layers of 1 or more"
            )
        if self.layers > 0 and self.width % self.heads:
            raise ValueError(
                f"heads: {self.heads} does not divide width={self.width}; "
                "choose a number of heads that divides the width"
            )
        if not 0 < self.end_of_text < self.vocab_size:
            raise ValueError(
                f"end_of_text: expected an id between 1 and vocab_size - 1 = "
                f"{self.vocab_size - 1} (0 is padding), came {self.end_of_text}; "
                "take it from the tokenizer, and vocab_size with it"
            )
        return self


class ClusterConfig(_Config):
    """The clustering head; the defaults add the paper's 0.08 M parameters (6 x 512 -> 25)."""

    clusters: int = 25
    layers: PositiveInt = 1
    hidden_dim: PositiveInt | None = None
    heads: PositiveInt = 6
    normalize: Literal["none", "l2", "batch"] = "l2"

    @field_validator("clusters")
    @classmethod
    def _clusters_tell_apart(cls, clusters: int) -> int:
        if clusters < 2:
            raise ValueError(
                f"expected at least 2, came {clusters}; one cluster has nothing to tell apart, the "
                "paper has 25"
            )
        return clusters

    @model_validator(mode="after")
    def _hidden_dim_is_used(self) -> Self:
        if self.hidden_dim is not None and self.layers == 1:
            raise ValueError(
                "hidden_dim: one layer has no hidden channels; leave it out, or set layers to 2"
            )
        return self


class ModelConfig(_Config):
    """The whole model; `embed_dim` is the space that images, pixels and texts share."""

    embed_dim: PositiveInt = 512
    image: ImageEncoderConfig = ImageEncoderConfig()
    text: TextEncoderConfig = TextEncoderConfig()
    cluster: ClusterConfig = ClusterConfig()
    prototypes: PositiveInt = 2048
    region_pooling: Literal["mean", "max", "lse", "attention"] = "mean"

    @model_validator(mode="after")
    def _attention_is_learnt(self) -> Self:
        if self.region_pooling == "attention" and self.image.pooling != "attention":
            raise ValueError(
                "region_pooling: 'attention' shares the query that the global feature learns, and "
                f"image.pooling is {self.image.pooling!r}; set image.pooling='attention', or use "
                "region_pooling 'mean', 'max' or 'lse'"
            )
        return self

    def without_sources(self) -> Self:
        """The same architecture, without the weights it once began from: for what brings its own.

        Those may no longer be at hand where a trained model is opened.
        """
        image = self.image.model_copy(update={"pretrained": False, "checkpoint": None})
        text = self.text.model_copy(update={"checkpoint": None})
        return self.model_copy(update={"image": image, "text": text})
