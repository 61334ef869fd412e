"""Balanced soft assignment of images to prototypes by Sinkhorn-Knopp, in the log domain.

g = views, n = images (joined over the group), k = prototypes. Source: Caron et al., "Unsupervised
Learning of Visual Features by Contrasting Cluster Assignments" (2020), as used for targets in
DINOv2.
"""

import torch
from torch import Tensor

from vilseg_core._numerics import (
    at_least_float32,
    check_count,
    check_floating,
    check_positive,
    without_autocast,
)
from vilseg_core.distributed import ProcessGroup, gather_rows


@torch.no_grad()
def sinkhorn_log_assignment(
    logits: Tensor,
    *,
    temperature: float,
    iterations: int = 3,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Log-probabilities of prototypes such that each prototype takes a like share of the images.

    Starting from exp(logits / temperature), each iteration scales the prototypes to equal totals
    over the images and then each image to a total of 1. In the log domain no logit overflows.
    Several views are balanced each by itself. The result carries no gradient: it is a target.

    Args:
        logits: (n, k), or (g, n, k).
        temperature: divides the logits.
        iterations: number of scalings, at least 1; 3 is customary.
        group: processes whose images are balanced together; None means this process alone.

    Returns:
        The shape of `logits`, logarithms of rows that sum to 1; float32, or float64 where `logits`
        is.

    Raises:
        ValueError: the shape, the dtype, `temperature` or `iterations` are not as above.
    """
    check_floating("logits", logits)
    if logits.ndim not in (2, 3) or logits.shape[-1] == 0:
        raise ValueError(
            f"logits: expected shape (n, k) or (g, n, k) with k > 0, came {tuple(logits.shape)}; "
            "pass one row an image."
        )
    check_positive("temperature", temperature)
    check_count("iterations", iterations)
    with without_autocast(logits):
        assignment = logits.detach().to(at_least_float32(logits)) / temperature
        for _ in range(iterations):
            totals = assignment.logsumexp(-2, keepdim=True)
            # One row a rank, so that the views of all ranks travel together.
            joined = gather_rows(totals.reshape(1, -1), group).logsumexp(0)
            assignment = (assignment - joined.reshape(totals.shape)).log_softmax(-1)
    return assignment
