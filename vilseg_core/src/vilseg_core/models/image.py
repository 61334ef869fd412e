"""Image encoder: a timm vision transformer to pixel features and their pooling.

b = images, (H, W) = image, (h, w) = patch grid, d = embedding dimension.
"""

from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from vilseg_core.layers import build_pooling
from vilseg_core.models.config import ImageEncoderConfig
from vilseg_core.models.pretrained import load_image_weights
from vilseg_core.models.stem import ConvStem


class ImageFeatures(NamedTuple):
    """Features of a batch of images.

    Attributes:
        pixels: (b, d, h, w), one feature a patch.
        pooled: (b, d), one feature an image.
    """

    pixels: Tensor
    pooled: Tensor


class ImageEncoder(nn.Module):
    """Vision transformer, final norm, linear projection; the global feature is their pooling.

    Images of any size that the patch size divides pass: the position embedding is resampled.

    Args:
        config: the encoder.
        embed_dim: d.

    Raises:
        ValueError: timm knows no such vision transformer, or its options do not fit.
        ImportError: timm is not installed.
    """

    def __init__(self, config: ImageEncoderConfig, *, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        self.backbone = _build_backbone(config)
        grid = self.backbone.patch_embed
        self.patch_size: int = grid.feat_ratio()
        if config.stem == "conv":
            self.backbone.patch_embed = ConvStem(
                self.backbone.embed_dim, patch_size=self.patch_size, grid_size=grid.grid_size
            )
        self.projection = nn.Linear(self.backbone.embed_dim, embed_dim, bias=False)
        nn.init.normal_(self.projection.weight, std=self.backbone.embed_dim**-0.5)
        self.pooling = (
            None
            if config.pooling == "cls"
            else build_pooling(config.pooling, dim=embed_dim, sharpness=config.sharpness)
        )
        # (x - mean) / std as one multiply-add.
        std = torch.tensor(config.std).reshape(3, 1, 1)
        mean = torch.tensor(config.mean).reshape(3, 1, 1)
        self.register_buffer("gain", 1 / std, persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)
        if config.checkpoint is not None:
            load_image_weights(self, config.checkpoint)

    gain: Tensor
    shift: Tensor

    def forward(self, images: Tensor) -> ImageFeatures:
        """(b, 3, H, W), floats in [0, 1] -> pixels (b, d, h, w) and pooled (b, d).

        Raises:
            ValueError: the shape or the dtype is not as above.
        """
        self._check(images)
        images = torch.addcmul(self.shift, images.to(self.gain.dtype), self.gain)
        tokens = self.backbone.forward_features(images)
        prefix = self.backbone.num_prefix_tokens
        height = images.shape[2] // self.patch_size
        if self.pooling is None:
            embedded = self.projection(tokens)
            pixels = rearrange(embedded[:, prefix:], "b (h w) d -> b d h w", h=height)
            return ImageFeatures(pixels, embedded[:, 0])
        embedded = self.projection(tokens[:, prefix:])
        pixels = rearrange(embedded, "b (h w) d -> b d h w", h=height)
        return ImageFeatures(pixels, self.pooling(pixels))

    def _check(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                "images: expected floats in [0, 1] of shape (b, 3, H, W), came "
                f"{images.dtype} of shape {tuple(images.shape)}; for bytes use images / 255."
            )
        side = self.patch_size
        if images.shape[2] % side or images.shape[3] % side or 0 in images.shape[2:]:
            raise ValueError(
                f"images: expected sides divisible by the patch size {side}, came "
                f"{images.shape[2]}x{images.shape[3]}; resize or crop to multiples of {side}."
            )


def _build_backbone(config: ImageEncoderConfig) -> Any:
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            "the image encoder needs timm; install it with: pip install 'vilseg-core[models]'"
        ) from error
    options: dict[str, Any] = dict(config.options)
    try:
        # Only timm's VisionTransformer takes all of these; any other model is refused here.
        return timm.create_model(
            config.name,
            pretrained=config.pretrained,
            num_classes=0,
            global_pool="",
            fc_norm=False,
            img_size=config.image_size,
            dynamic_img_size=True,
            **options,
        )
    except (AssertionError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"image: timm cannot build {config.name!r} with options {config.options}: {error}; "
            "check image.name (timm.list_models('vit_*')) and image.options."
        ) from error
