"""The clustering head: pixel features to cluster logits.

b = images, d = feature dimension, c = clusters, (h, w) = grid.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vilseg_core._numerics import at_least_float32, check_choice
from vilseg_core.distributed import ProcessGroup
from vilseg_core.layers.joined_norm import JoinedBatchNorm

Normalize = Literal["none", "l2", "batch"]


class ClusteringHead(nn.Module):
    """1x1 convolutions from pixel features to cluster logits, one or several sub-heads.

    Sub-heads share the input and nothing else; each is trained with the same loss, the first is
    used at inference.

    Args:
        in_dim: d.
        clusters: c, at least 2.
        layers: convolutions a sub-head; between them GELU.
        hidden_dim: channels between convolutions, `in_dim` where left out; for `layers` >= 2.
        heads: number of sub-heads.
        normalize: what is done to the input: `"l2"` scales each pixel to norm 1, `"batch"`
            standardises each channel over the batch (running statistics at inference).
        group: processes whose batches are joined, for `"batch"`; None means this process alone.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        in_dim: int,
        clusters: int,
        *,
        layers: int = 1,
        hidden_dim: int | None = None,
        heads: int = 1,
        normalize: Normalize = "none",
        group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("in_dim", in_dim, 1),
            ("clusters", clusters, 2),
            ("layers", layers, 1),
            ("heads", heads, 1),
        ):
            if value < least:
                raise ValueError(
                    f"{name}: expected at least {least}, came {value}; set {name}={least} or more."
                )
        if hidden_dim is not None and (layers == 1 or hidden_dim < 1):
            raise ValueError(
                f"hidden_dim: expected none with one layer and at least 1 otherwise, came "
                f"{hidden_dim} with layers={layers}; leave it out or set layers to 2 or more."
            )
        check_choice("normalize", normalize, get_args(Normalize))
        self.in_dim = in_dim
        self.normalize: Normalize = normalize
        self.norm = JoinedBatchNorm(in_dim, group=group) if normalize == "batch" else nn.Identity()
        self.heads = nn.ModuleList(
            _sub_head(in_dim, clusters, layers=layers, hidden_dim=hidden_dim or in_dim)
            for _ in range(heads)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """(b, d, h, w) -> (b, c, h, w), the logits of the first sub-head.

        Raises:
            ValueError: the shape is not as above.
        """
        logits: Tensor = self.heads[0](self._normalised(pixels))
        return logits

    def forward_all(self, pixels: Tensor) -> Tensor:
        """(b, d, h, w) -> (heads, b, c, h, w), the logits of every sub-head."""
        normalised = self._normalised(pixels)
        return torch.stack([head(normalised) for head in self.heads])

    def _normalised(self, pixels: Tensor) -> Tensor:
        if pixels.ndim != 4 or pixels.shape[1] != self.in_dim:
            raise ValueError(
                f"pixels: expected shape (b, {self.in_dim}, h, w), came {tuple(pixels.shape)}; "
                "move the features to dimension 1, or build the head with their in_dim."
            )
        if self.normalize == "l2":
            # The bound that keeps a zero feature zero is itself zero in float16.
            return F.normalize(pixels.to(at_least_float32(pixels)), dim=1).to(pixels.dtype)
        normalised: Tensor = self.norm(pixels)
        return normalised


def _sub_head(in_dim: int, clusters: int, *, layers: int, hidden_dim: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts += [nn.Conv2d(in_dim, hidden_dim, 1), nn.GELU()]
        in_dim = hidden_dim
    return nn.Sequential(*parts, nn.Conv2d(in_dim, clusters, 1))
