"""Mutual information between two cluster assignments of the same pixels (Eq. 7 and 8).

c = clusters; a pixel is any position outside the channel dimension: (b, c, h, w) and (n, c) alike.

With p and q the marginals, the joint is J = p q^T + D, where D is the mean product of the
probabilities centred at their marginals. D is all there is to learn from; near the start of
training it is a thousand times smaller than J, so it is never formed by subtraction from J.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vilseg_core._numerics import at_least_float32, check_floating, without_autocast
from vilseg_core.distributed import ProcessGroup, sum_over_group
from vilseg_core.functional._pixels import check_logits, pixel_rows, pixel_weights
from vilseg_core.ops import (
    Implementation,
    check_implementation,
    choose_implementation,
    moments,
)


class _Joint(NamedTuple):
    """Marginals (c,), (c,) and the covariance (c, c) of a joint distribution."""

    rows: Tensor
    columns: Tensor
    covariance: Tensor

    def matrix(self) -> Tensor:
        joint = torch.outer(self.rows, self.columns) + self.covariance
        # Rounding may leave -1e-10 where the joint is 0; the gradient passes untouched.
        return joint + (joint.clamp_min(0) - joint).detach()

    def symmetric(self) -> "_Joint":
        mean = (self.rows + self.columns) / 2
        half = (self.rows - self.columns) / 2
        covariance = (self.covariance + self.covariance.T) / 2 - torch.outer(half, half)
        return _Joint(mean, mean, covariance)


def joint_matrix(
    logits_a: Tensor,
    logits_b: Tensor,
    *,
    channel_dim: int = 1,
    mask: Tensor | None = None,
    group: ProcessGroup | None = None,
    impl: Implementation = "auto",
) -> Tensor:
    """Joint distribution of the clusters of paired pixels: mean of softmax(a) softmax(b)^T (Eq. 7).

    Rows belong to `logits_a`, columns to `logits_b`. Each pixel is weighted by `mask` once and the
    sum is divided by the sum of the weights; where that is 0 (no pixel) the joint is uniform.

    Args:
        logits_a: logits with c channels along `channel_dim`.
        logits_b: the same shape; position i of both is the same pixel.
        channel_dim: the dimension of the clusters.
        mask: one weight >= 0 a pixel, bool or number: the shape of the logits without the channel
            dimension, or with it at size 1. Logits of masked pixels must still be finite.
        group: processes whose pixels are joined; None means this process alone.
        impl: `"reference"` holds all assignments at once; `"chunked"` a block of pixels at a time,
            twice, and has gradients of first order only; `"auto"` is the faster for this many.

    Returns:
        (c, c), sums to 1; float32, or float64 where an input is.

    Raises:
        ValueError: shapes, dtypes, `channel_dim` or `impl` are not as above.
    """
    joint = _joint(logits_a, logits_b, channel_dim=channel_dim, mask=mask, group=group, impl=impl)
    return joint.matrix()


def mutual_information(
    joint: Tensor, *, entropy_weight: float = 1.0, symmetric: bool = False
) -> Tensor:
    """Mutual information of a joint distribution, in nats (Eq. 8).

    sum of J (ln J - w ln J_row - w ln J_column), where w = `entropy_weight`: 1 is Eq. 8, more
    favours balanced clusters. `symmetric` replaces J by its mean with its transpose first.
    Clusters that nothing is assigned to add 0 and leave the gradient finite.

    Args:
        joint: (c, c), entries >= 0 that sum to 1.
        entropy_weight: weight of the entropies of the two marginals.
        symmetric: whether the two sides are treated as exchangeable.

    Returns:
        0-d tensor, float32, or float64 where `joint` is.

    Raises:
        ValueError: `joint` is not a square floating-point matrix, or the weight is not finite.
    """
    check_floating("joint", joint)
    if joint.ndim != 2 or joint.shape[0] != joint.shape[1]:
        raise ValueError(
            f"joint: expected a square matrix (c, c), came {tuple(joint.shape)}; "
            "make it with functional.joint_matrix."
        )
    check_entropy_weight(entropy_weight)
    joint = joint.to(at_least_float32(joint))
    if symmetric:
        joint = (joint + joint.T) / 2
    log_rows, log_columns = _safe_log(joint.sum(1)), _safe_log(joint.sum(0))
    marginals = log_rows[:, None] + log_columns
    return (joint * (_safe_log(joint) - entropy_weight * marginals)).sum()


def mutual_information_loss(
    logits_a: Tensor,
    logits_b: Tensor,
    *,
    channel_dim: int = 1,
    mask: Tensor | None = None,
    entropy_weight: float = 1.0,
    symmetric: bool = False,
    group: ProcessGroup | None = None,
    impl: Implementation = "auto",
) -> Tensor:
    """Minus the mutual information of two assignments of the same pixels, in nats (Eq. 8).

    Equal to `-mutual_information(joint_matrix(...))`, whose arguments these are, but computed from
    the covariance: sum of p q ((1 + x) ln(1 + x) - x) with x = D / (p q). No term of this sum is
    negative, so a small information keeps its digits, and so does its gradient.
    """
    check_entropy_weight(entropy_weight)
    joint = _joint(logits_a, logits_b, channel_dim=channel_dim, mask=mask, group=group, impl=impl)
    if symmetric:
        joint = joint.symmetric()
    information = _information(joint)
    if entropy_weight != 1.0:
        entropies = [-(share * _safe_log(share)).sum() for share in (joint.rows, joint.columns)]
        information = information + (entropy_weight - 1.0) * (entropies[0] + entropies[1])
    return -information


def _joint(
    logits_a: Tensor,
    logits_b: Tensor,
    *,
    channel_dim: int,
    mask: Tensor | None,
    group: ProcessGroup | None,
    impl: Implementation,
) -> _Joint:
    check_implementation(impl)
    dim = check_logits(logits_a, logits_b, channel_dim=channel_dim)
    weights = None if mask is None else pixel_weights(mask, logits_a, dim=dim)
    dtype = at_least_float32(logits_a, logits_b)
    if weights is not None:
        weights = weights.to(dtype)
    pixels = logits_a.numel() // logits_a.shape[dim]
    with without_autocast(logits_a):
        chosen = choose_implementation(
            impl, function="information", size=pixels, device=logits_a.device, dtype=dtype
        )
        if chosen == "chunked":
            return _chunked_joint(logits_a, logits_b, weights, dim=dim, group=group)
        return _reference_joint(logits_a, logits_b, weights, dim=dim, group=group)


def _chunked_joint(
    logits_a: Tensor,
    logits_b: Tensor,
    weights: Tensor | None,
    *,
    dim: int,
    group: ProcessGroup | None,
) -> _Joint:
    # float64, in which the covariance may be had by subtraction; one message over a group.
    total = sum_over_group(moments(logits_a, logits_b, channel_dim=dim, weights=weights), group)
    mass = total[-1, -1]
    some = mass > 0
    means = total / torch.where(some, mass, 1.0)
    products, rows, columns = means[:-1, :-1], means[:-1, -1], means[-1, :-1]
    uniform = 1.0 / rows.shape[0]
    parts = (
        torch.where(some, rows, uniform),
        torch.where(some, columns, uniform),
        products - torch.outer(rows, columns),
    )
    return _Joint(*(part.to(at_least_float32(logits_a, logits_b)) for part in parts))


def _reference_joint(
    logits_a: Tensor,
    logits_b: Tensor,
    weights: Tensor | None,
    *,
    dim: int,
    group: ProcessGroup | None,
) -> _Joint:
    dtype = at_least_float32(logits_a, logits_b)
    a = pixel_rows(logits_a, dim=dim).to(dtype).softmax(1)
    b = pixel_rows(logits_b, dim=dim).to(dtype).softmax(1)
    if weights is None:
        weighted_a, weighted_b = a, b
        mass = a.new_full((1,), a.shape[0])
    else:
        weighted_a, weighted_b = a * weights, b * weights
        mass = weights.sum().reshape(1)
    sums = sum_over_group(torch.cat([weighted_a.sum(0), weighted_b.sum(0), mass]), group)
    clusters = a.shape[1]
    mass = sums[-1]
    some = mass > 0
    mass = torch.where(some, mass, 1.0)
    shares = torch.where(some, sums[:-1] / mass, 1.0 / clusters)
    rows, columns = shares[:clusters], shares[clusters:]
    # The centre's own gradient is 0 in total. Over a group only the total is: each rank's part
    # of it is not, so it must not be sent on.
    centres = (rows, columns) if group is None else (rows.detach(), columns.detach())
    centred_a, centred_b = a - centres[0], b - centres[1]
    if weights is not None:
        centred_a = centred_a * weights
    return _Joint(rows, columns, sum_over_group(centred_a.T @ centred_b, group) / mass)


def _information(joint: _Joint) -> Tensor:
    finfo = torch.finfo(joint.covariance.dtype)
    # Two divisions: the gradient of one by the product overflows where a cluster is nearly dead.
    rows, columns = joint.rows[:, None], joint.columns
    excess = joint.covariance / rows.clamp_min(finfo.tiny) / columns.clamp_min(finfo.tiny)
    # An excess of -1 is an empty cell of the joint; the bound keeps its logarithm finite.
    log_ratio = torch.log1p(excess.clamp_min(finfo.eps - 1.0))
    return (rows * columns * ((1.0 + excess) * log_ratio - excess)).sum()


def _safe_log(values: Tensor) -> Tensor:
    return values.clamp_min(torch.finfo(values.dtype).tiny).log()


def check_entropy_weight(entropy_weight: float) -> None:
    """Refuse a weight that is not finite."""
    if not math.isfinite(entropy_weight):
        raise ValueError(
            f"entropy_weight: expected a finite number, came {entropy_weight!r}; 1.0 is Eq. 8."
        )
