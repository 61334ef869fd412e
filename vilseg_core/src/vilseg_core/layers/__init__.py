"""Layers that need torch alone: the clustering head and the pooling family."""

from vilseg_core.layers.heads import ClusteringHead
from vilseg_core.layers.pooling import (
    AttentionPooling,
    LogSumExpPooling,
    MaxPooling,
    MeanPooling,
    Pooling,
    build_pooling,
)

__all__ = [
    "AttentionPooling",
    "ClusteringHead",
    "LogSumExpPooling",
    "MaxPooling",
    "MeanPooling",
    "Pooling",
    "build_pooling",
]
