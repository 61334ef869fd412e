"""Mutual information between two cluster assignments of the same pixels (Eq. 7 and 8).

c = clusters; a pixel is any position outside the dimensions of channels and heads: (b, c, h, w) and
(n, c) alike.
"""

import math
from typing import Literal, overload

import torch
from torch import Tensor

from vilseg_core._numerics import at_least_float32
from vilseg_core.distributed import ProcessGroup
from vilseg_core.functional._joint import Call, Joint, checked_call, joint_of
from vilseg_core.functional.information_statistics import (
    InformationStatistics,
    check_joint,
    information_statistics,
)
from vilseg_core.ops import Implementation, triton_information


def joint_matrix(
    logits_a: Tensor,
    logits_b: Tensor,
    *,
    channel_dim: int = 1,
    mask: Tensor | None = None,
    displacement: int = 0,
    head_dim: int | None = None,
    group: ProcessGroup | None = None,
    impl: Implementation = "auto",
) -> Tensor:
    """Joint distribution of the clusters of paired pixels: mean of softmax(a) softmax(b)^T (Eq. 7).

    Rows belong to `logits_a`, columns to `logits_b`. Each pixel is weighted by `mask` once and the
    sum is divided by the sum of the weights; where that is 0 (no pixel) the joint is uniform. A
    logit that is nan or inf makes the result not a number, masked or not; one of -inf is a
    probability of 0.

    Args:
        logits_a: logits with c channels along `channel_dim`.
        logits_b: the same shape; position i of both is the same pixel.
        channel_dim: the dimension of the clusters.
        mask: one weight >= 0 a pixel, bool or number: the shape of the logits without the channels
            (and heads), or with them at size 1. Looking for a negative weight would wait for the
            device, so it is not refused: it counts as 0.
        displacement: largest displacement T, in pixels. A pixel of `logits_a` is paired with every
            one of `logits_b` within T rows and T columns inside the grid, for logits (b, c, h, w)
            with `channel_dim` anywhere (Ji et al. 2019, section 3.3). The pair of x and x + u
            weighs as much as x, or 0 where x + u weighs 0.
        head_dim: the dimension of several sub-heads that share pixels and mask; None for one head.
        group: processes whose pixels are joined; None means this process alone.
        impl: `"reference"` holds all assignments at once; `"chunked"` a block of pixels at a time,
            twice; `"triton"` none, on CUDA, but not for float64. The last two have gradients of
            first order only and no displacement. `"auto"` is the faster of the first two.

    Returns:
        (c, c), or (heads, c, c) with `head_dim`; sums to 1; float32, or float64 where an input is.

    Raises:
        ValueError: shapes, dtypes, devices, a dimension, `displacement` or `impl` are not as above.
    """
    call = checked_call(
        logits_a,
        logits_b,
        channel_dim=channel_dim,
        mask=mask,
        displacement=displacement,
        head_dim=head_dim,
        group=group,
        impl=impl,
    )
    joint = joint_of(call).matrix().to(call.dtype)
    return joint[0] if head_dim is None else joint


def mutual_information(
    joint: Tensor, *, entropy_weight: float = 1.0, symmetric: bool = False
) -> Tensor:
    """Mutual information of a joint distribution, in nats (Eq. 8).

    sum of J (ln J - w ln J_row - w ln J_column), where w = `entropy_weight`: 1 is Eq. 8, more
    favours balanced clusters. `symmetric` replaces J by its mean with its transpose first.
    Clusters that nothing is assigned to add 0 and leave the gradient finite.

    Args:
        joint: (..., c, c), entries >= 0 that sum to 1.
        entropy_weight: weight of the entropies of the two marginals.
        symmetric: whether the two sides are treated as exchangeable.

    Returns:
        (...), one number a joint; float32, or float64 where `joint` is.

    Raises:
        ValueError: `joint` is not floating-point or not square, or the weight is not finite.
    """
    check_joint(joint)
    check_entropy_weight(entropy_weight)
    joint = joint.to(at_least_float32(joint))
    if symmetric:
        joint = (joint + joint.mT) / 2
    log_rows, log_columns = _safe_log(joint.sum(-1)), _safe_log(joint.sum(-2))
    marginals = log_rows[..., :, None] + log_columns[..., None, :]
    return (joint * (_safe_log(joint) - entropy_weight * marginals)).sum((-2, -1))


@overload
def mutual_information_loss(
    logits_a: Tensor,
    logits_b: Tensor,
    *,
    channel_dim: int = ...,
    mask: Tensor | None = ...,
    entropy_weight: float = ...,
    symmetric: bool = ...,
    displacement: int = ...,
    head_dim: int | None = ...,
    return_statistics: Literal[False] = ...,
    group: ProcessGroup | None = ...,
    impl: Implementation = ...,
) -> Tensor: ...


@overload
def mutual_information_loss(
    logits_a: Tensor,
    logits_b: Tensor,
    *,
    channel_dim: int = ...,
    mask: Tensor | None = ...,
    entropy_weight: float = ...,
    symmetric: bool = ...,
    displacement: int = ...,
    head_dim: int | None = ...,
    return_statistics: Literal[True],
    group: ProcessGroup | None = ...,
    impl: Implementation = ...,
) -> tuple[Tensor, InformationStatistics]: ...


@overload
def mutual_information_loss(
    logits_a: Tensor,
    logits_b: Tensor,
    *,
    channel_dim: int = ...,
    mask: Tensor | None = ...,
    entropy_weight: float = ...,
    symmetric: bool = ...,
    displacement: int = ...,
    head_dim: int | None = ...,
    return_statistics: bool,
    group: ProcessGroup | None = ...,
    impl: Implementation = ...,
) -> Tensor | tuple[Tensor, InformationStatistics]: ...


def mutual_information_loss(
    logits_a: Tensor,
    logits_b: Tensor,
    *,
    channel_dim: int = 1,
    mask: Tensor | None = None,
    entropy_weight: float = 1.0,
    symmetric: bool = False,
    displacement: int = 0,
    head_dim: int | None = None,
    return_statistics: bool = False,
    group: ProcessGroup | None = None,
    impl: Implementation = "auto",
) -> Tensor | tuple[Tensor, InformationStatistics]:
    """Minus the mutual information of two assignments of the same pixels, in nats (Eq. 8).

    Equal to `-mutual_information(joint_matrix(...))`, whose arguments these are, averaged over the
    heads, but computed from the covariance D: sum of p q ((1 + x) ln(1 + x) - x) with
    x = D / (p q). No term of this sum is negative, so a small information keeps its digits, and so
    does its gradient. 0 for one cluster, for no pixel and for weights that sum to 0.

    Args:
        return_statistics: whether to give `functional.information_statistics` of the joint as
            well: of all processes of the group, after `symmetric`, one number a head (0-d where
            `head_dim` is None), detached.

    Returns:
        0-d loss, float32, or float64 where an input is; with `return_statistics` the pair of it and
        an `InformationStatistics`.

    Raises:
        ValueError: as `joint_matrix`, or `entropy_weight` is not finite.
    """
    check_entropy_weight(entropy_weight)
    call = checked_call(
        logits_a,
        logits_b,
        channel_dim=channel_dim,
        mask=mask,
        displacement=displacement,
        head_dim=head_dim,
        group=group,
        impl=impl,
    )
    if call.implementation == "triton" and group is None and not return_statistics:
        return _fused_loss(call, entropy_weight=entropy_weight, symmetric=symmetric)
    joint = joint_of(call)
    if symmetric:
        joint = joint.symmetric()
    information = _information(joint)
    if entropy_weight != 1.0:
        entropies = [-(share * _safe_log(share)).sum(-1) for share in (joint.rows, joint.columns)]
        information = information + (entropy_weight - 1.0) * (entropies[0] + entropies[1])
    loss = -information.mean().to(call.dtype)
    if not return_statistics:
        return loss
    statistics = information_statistics(joint.matrix())
    heads = (value if call.head is not None else value[0] for value in statistics)
    return loss, InformationStatistics(*(value.to(call.dtype) for value in heads))


def _fused_loss(call: Call, *, entropy_weight: float, symmetric: bool) -> Tensor:
    """Mean over the heads of the loss whose (c, c) part is in a kernel as well."""
    heads, dim = call.heads()
    losses = [
        triton_information.information(
            a,
            b,
            channel_dim=dim,
            weights=call.weights,
            entropy_weight=entropy_weight,
            symmetric=symmetric,
        )
        for a, b in heads
    ]
    return losses[0] if call.head is None else torch.stack(losses).mean()


def _information(joint: Joint) -> Tensor:
    finfo = torch.finfo(joint.covariance.dtype)
    # Two divisions: the gradient of one by the product overflows where a cluster is nearly dead.
    rows, columns = joint.rows[..., :, None], joint.columns[..., None, :]
    excess = joint.covariance / rows.clamp_min(finfo.tiny) / columns.clamp_min(finfo.tiny)
    # An excess of -1 is an empty cell of the joint; the bound keeps its logarithm finite.
    log_ratio = torch.log1p(excess.clamp_min(finfo.eps - 1.0))
    return (rows * columns * ((1.0 + excess) * log_ratio - excess)).sum((-2, -1))


def _safe_log(values: Tensor) -> Tensor:
    return values.clamp_min(torch.finfo(values.dtype).tiny).log()


def check_entropy_weight(entropy_weight: float) -> None:
    """Refuse a weight that is not finite."""
    if not math.isfinite(entropy_weight):
        raise ValueError(
            f"entropy_weight: expected a finite number, came {entropy_weight!r}; 1.0 is Eq. 8."
        )
