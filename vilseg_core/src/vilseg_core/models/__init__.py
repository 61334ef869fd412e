"""The model: image and text encoders, clustering head, and their configuration.

Needs the extra `models` (timm and pydantic).
"""

from vilseg_core.models.config import (
    ClusterConfig,
    ImageEncoderConfig,
    ModelConfig,
    TextEncoderConfig,
)
from vilseg_core.models.image import ImageEncoder, ImageFeatures
from vilseg_core.models.text import TextEncoder
from vilseg_core.models.vilseg import ViLSeg, build_model

__all__ = [
    "ClusterConfig",
    "ImageEncoder",
    "ImageEncoderConfig",
    "ImageFeatures",
    "ModelConfig",
    "TextEncoder",
    "TextEncoderConfig",
    "ViLSeg",
    "build_model",
]
