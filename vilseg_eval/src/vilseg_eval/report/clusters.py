"""How a clustering head uses its clusters: one that uses few of them has collapsed.

Legend: c clusters, shares p of the pixels that each wins, entropy H = -sum p ln p in nats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any, Protocol, runtime_checkable

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from vilseg_data import LabelledSet
from vilseg_eval.report.theme import canvas, dress, theme

_AT_ONCE = 8


@runtime_checkable
class Clusterer(Protocol):
    """What a segmenter with clusters has beside the four names of a segmenter."""

    @property
    def clusters(self) -> int:
        """c."""
        ...

    def cluster_maps(self, images: list[Tensor], /) -> Sequence[Tensor]:
        """(h, w) cluster ids of each uint8 (3, h, w) image."""
        ...


@dataclass(frozen=True)
class ClusterUsage:
    """`pixels` won by each of c clusters over `images` images."""

    pixels: tuple[int, ...]
    images: int

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> ClusterUsage:
        """What `facts` gave."""
        return cls(tuple(int(n) for n in facts["pixels"]), int(facts["images"]))

    def facts(self) -> dict[str, Any]:
        """As JSON: the counts, and what is read from them."""
        return {
            "images": self.images,
            "pixels": list(self.pixels),
            "used": self.used,
            "entropy": self.entropy,
        }

    @property
    def shares(self) -> list[float]:
        """Shares of the pixels, largest first."""
        total = max(1, sum(self.pixels))
        return sorted((n / total for n in self.pixels), reverse=True)

    @property
    def used(self) -> int:
        """Clusters that win at least one pixel."""
        return sum(n > 0 for n in self.pixels)

    @property
    def entropy(self) -> float:
        """H in nats, 0 (one cluster wins all) to ln c (all win alike)."""
        return sum(-p * log(p) for p in self.shares if p > 0) + 0.0

    def __str__(self) -> str:
        return (
            f"{self.used} of {len(self.pixels)} clusters win pixels; the largest wins "
            f"{100 * self.shares[0]:.1f} %. Entropy {self.entropy:.2f} of at most "
            f"{log(len(self.pixels)):.2f} nats, as if {exp(self.entropy):.1f} clusters were used "
            f"alike. Counted over {self.images:,} images."
        )


def cluster_usage(segmenter: Clusterer, dataset: LabelledSet, *, count: int = 64) -> ClusterUsage:
    """Count over `count` images spread evenly over the set, or all if it has fewer."""
    if count < 1:
        raise ValueError(f"count: expected at least 1, came {count}")
    total = len(dataset)
    positions = sorted({i * total // count for i in range(count)}) if total else []
    pixels = torch.zeros(segmenter.clusters, dtype=torch.int64)
    for start in range(0, len(positions), _AT_ONCE):
        images = [dataset[i].image for i in positions[start : start + _AT_ONCE]]
        for ids in segmenter.cluster_maps(images):
            pixels += torch.bincount(ids.flatten().cpu(), minlength=len(pixels))
    return ClusterUsage(tuple(pixels.tolist()), len(positions))


def usage_bars(usage: ClusterUsage, *, dark: bool = False) -> Figure:
    """The share of each cluster, largest first; a line where all would be alike."""
    look = theme(dark=dark)
    figure, axes = canvas(5.6, 1.7, left=0.65, bottom=0.5)
    count = len(usage.pixels)
    axes.bar(range(1, count + 1), [100 * p for p in usage.shares], width=0.8, color=look.hue(0))
    axes.axhline(100 / count, color=look.ink, linewidth=1, linestyle="--", label="all alike")
    axes.set_xlim(0.4, count + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("clusters, largest first")
    axes.set_ylabel("per cent of pixels")
    dress(axes, look, grid="y")
    axes.legend(frameon=False, labelcolor=look.ink)
    return figure
