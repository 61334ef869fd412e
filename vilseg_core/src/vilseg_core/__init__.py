"""Losses, pooling and models for learning to segment from image-caption pairs.

Importing this package needs torch alone; `vilseg_core.models` needs the extra `models`.
"""

from vilseg_core import functional
from vilseg_core.caching import cached_contrastive_step
from vilseg_core.layers import ClusteringHead
from vilseg_core.losses import (
    Centering,
    CompositeLoss,
    LocalToGlobalLoss,
    MutualInformationLoss,
    Part,
    SigmoidContrastiveLoss,
    Sinkhorn,
    SymmetricInfoNCE,
    Targets,
)

__version__ = "0.1.0"

__all__ = [
    "Centering",
    "ClusteringHead",
    "CompositeLoss",
    "LocalToGlobalLoss",
    "MutualInformationLoss",
    "Part",
    "SigmoidContrastiveLoss",
    "Sinkhorn",
    "SymmetricInfoNCE",
    "Targets",
    "__version__",
    "cached_contrastive_step",
    "functional",
]
