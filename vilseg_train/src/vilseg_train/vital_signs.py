"""What a step says of the health of a run: numbers, detached, beside the losses.

They are those of the joined batch where `group` names the processes that share it.

Legend: n images, c clusters, p prototypes, d embedding dimension, (h, w) the token grid.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vilseg_core.distributed import (
    ProcessGroup,
    gather_rows,
    rows_of_ranks,
    sum_over_group,
    world_size,
)

# A cluster counts as used where it wins a twentieth of an even share of the pixels.
USED_SHARE = 0.05
# Of a larger batch these say the same, and nothing n x n is made.
_ROWS = 512


@torch.no_grad()
def cluster_signs(logits: Tensor, *, group: ProcessGroup | None = None) -> dict[str, Tensor]:
    """How the pixels are spread over the clusters, from (n, c, h, w) logits; 0-d tensors.

    cluster_entropy: of the mean assignment, nats, at most ln c. pixel_entropy: mean entropy of a
    pixel's own assignment. clusters_used: how many win more than `USED_SHARE` / c of the pixels.
    """
    rows = _wide(logits).movedim(1, -1).flatten(0, -2)
    shares = rows.softmax(-1)
    clusters = shares.shape[-1]
    won = torch.bincount(rows.argmax(-1), minlength=clusters).to(rows)
    mean, own, wins = _means(shares, group=group, more=won)
    return {
        "cluster_entropy": _entropy(mean),
        "pixel_entropy": own,
        "clusters_used": (wins > USED_SHARE / clusters).sum().to(rows),
    }


@torch.no_grad()
def target_signs(logits: Tensor, *, group: ProcessGroup | None = None) -> dict[str, Tensor]:
    """How the targets of L_vision are spread over the prototypes, from (n, p) their logits.

    target_entropy: mean entropy of an image's target, nats (Hs). mean_target_entropy: of the mean
    target, at most ln p (Hm); Hm - Hs is what the targets say of the images.
    """
    shares = _wide(logits).softmax(-1)
    mean, own, _ = _means(shares, group=group, more=shares.new_empty(0))
    return {"target_entropy": own, "mean_target_entropy": _entropy(mean)}


@torch.no_grad()
def contrast_signs(
    image: Tensor, text: Tensor, *, group: ProcessGroup | None = None
) -> dict[str, Tensor]:
    """How well pairs find each other, from the features (n, d) of images and of their texts.

    nearer: share of the other texts of the batch that are farther from an image than its own, at
    most of `_ROWS` images; 0.5 by chance, of a batch of any size, 1 where there is no other. A text
    as near as the own one is no success: features that do not depend on the image give 0.
    """
    most = max(1, _ROWS // world_size(group))
    first, second = (normalize(_wide(x[:most]), dim=-1) for x in (image, text))
    ranks = rows_of_ranks(second, group)
    cosines = first @ gather_rows(second, group, ranks=ranks).T
    own = cosines[:, ranks.own].diagonal()
    farther = (cosines < own[:, None]).sum().to(cosines)
    total = sum_over_group(farther, group)
    others = ranks.total * (ranks.total - 1)
    return {"nearer": total / others if others else torch.ones_like(total)}


def _means(
    shares: Tensor, *, group: ProcessGroup | None, more: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Over the rows of (n, k): their mean (k), the mean of their entropies, and `more` / n."""
    count = shares.new_full((1,), len(shares))
    entropy = _entropy(shares).sum().reshape(1)
    sums = sum_over_group(torch.cat([shares.sum(0), more, entropy, count]), group)
    means = sums[:-1] / sums[-1]
    return means[: shares.shape[-1]], means[-1], means[shares.shape[-1] : -1]


def _wide(values: Tensor) -> Tensor:
    """Detached, in float32 at least."""
    return values.detach().to(torch.promote_types(values.dtype, torch.float32))


def _entropy(shares: Tensor) -> Tensor:
    """(..., k) -> (...), nats."""
    return -torch.xlogy(shares, shares).sum(-1)
