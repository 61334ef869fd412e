"""Entropies of a joint distribution and what is read from them; nothing here has a gradient."""

from typing import NamedTuple

import torch
from torch import Tensor

from vilseg_core._numerics import at_least_float32, check_floating
from vilseg_core.ops.dispatch import WITHOUT_FLOAT64


class InformationStatistics(NamedTuple):
    """What a joint distribution of two clusterings says, detached; one number a joint.

    Entropies and the information are in nats, a is the side of the rows.
    """

    information: Tensor
    entropy_a: Tensor
    entropy_b: Tensor
    joint_entropy: Tensor
    normalized_information: Tensor
    """2 I / (H_a + H_b), from 0 to 1; 0 where both entropies are 0."""
    effective_clusters_a: Tensor
    """exp(H_a), from 1 (one cluster has all) to c (all are alike)."""
    effective_clusters_b: Tensor


def information_statistics(joint: Tensor) -> InformationStatistics:
    """Entropies, information, normalised information and effective clusters of a joint.

    The normalisation is by the arithmetic mean of the marginals' entropies, 2 I / (H_a + H_b), as
    in scikit-learn's `normalized_mutual_info_score`.

    Args:
        joint: (..., c, c), entries >= 0 that sum to 1.

    Returns:
        Tensors of shape (...), without gradient; float32, or float64 where `joint` is.

    Raises:
        ValueError: `joint` is not floating-point or not square.
    """
    check_joint(joint)
    dtype = at_least_float32(joint)
    # Near the start of training I is the difference of numbers a million times as large, so also
    # the rounding of the total counts.
    wide = dtype if joint.device.type in WITHOUT_FLOAT64 else torch.float64
    joint = joint.detach().to(wide)
    joint = joint / joint.sum((-2, -1), keepdim=True)
    entropy_a, entropy_b = _entropy(joint.sum(-1)).sum(-1), _entropy(joint.sum(-2)).sum(-1)
    joint_entropy = _entropy(joint).sum((-2, -1))
    information = entropy_a + entropy_b - joint_entropy
    whole = entropy_a + entropy_b
    found = (
        information,
        entropy_a,
        entropy_b,
        joint_entropy,
        torch.where(whole > 0, 2 * information / torch.where(whole > 0, whole, 1.0), 0.0),
        entropy_a.exp(),
        entropy_b.exp(),
    )
    return InformationStatistics(*(value.to(dtype) for value in found))


def check_joint(joint: Tensor) -> None:
    """Refuse what is no joint distribution of clusters by dtype or shape."""
    check_floating("joint", joint)
    if joint.ndim < 2 or joint.shape[-2] != joint.shape[-1] or joint.shape[-1] == 0:
        raise ValueError(
            f"joint: expected square matrices (..., c, c), came {tuple(joint.shape)}; "
            "make them with functional.joint_matrix."
        )


def _entropy(shares: Tensor) -> Tensor:
    """-s ln s of every entry, 0 at 0."""
    return -torch.xlogy(shares, shares)
