"""The joint distribution of Eq. 7, as its marginals and their covariance.

c = clusters. With p and q the marginals, the joint is J = p q^T + D, where D is the covariance of
the assignments. D is all there is to learn from; near the start of training it is a thousand times
smaller than J. Every implementation gives moments, the sum of w [p; 1] [q; 1]^T over pixels of
weight w; they are joined over processes, and D is had from them in float64.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vilseg_core._numerics import at_least_float32, without_autocast
from vilseg_core.distributed import ProcessGroup, sum_over_group
from vilseg_core.functional._pixel_pairs import PairMoments, pair_moments
from vilseg_core.functional._pixels import (
    check_displacement,
    check_grid,
    check_logits,
    pixel_weights,
)
from vilseg_core.ops import Implementation, choose_implementation, moments, triton_information
from vilseg_core.ops.dispatch import WITHOUT_FLOAT64


class Joint(NamedTuple):
    """Marginals (heads, c), (heads, c) and the covariance (heads, c, c) of joint distributions."""

    rows: Tensor
    columns: Tensor
    covariance: Tensor

    def matrix(self) -> Tensor:
        """(heads, c, c), no entry negative."""
        joint = _outer(self.rows, self.columns) + self.covariance
        # Rounding may leave -1e-10 where the joint is 0; the gradient passes untouched.
        return joint + (joint.clamp_min(0) - joint).detach()

    def symmetric(self) -> "Joint":
        """The mean of the joint with its transpose."""
        mean = (self.rows + self.columns) / 2
        half = (self.rows - self.columns) / 2
        covariance = (self.covariance + self.covariance.mT) / 2 - _outer(half, half)
        return Joint(mean, mean, covariance)


class Call(NamedTuple):
    """Arguments that have been checked; dimensions count from 0."""

    a: Tensor
    b: Tensor
    weights: Tensor | None
    dim: int
    head: int | None
    displacement: int
    group: ProcessGroup | None
    implementation: str

    @property
    def dtype(self) -> torch.dtype:
        """Of the softmaxes, and of what the caller gets."""
        return at_least_float32(self.a, self.b)

    def heads(self) -> tuple[list[tuple[Tensor, Tensor]], int]:
        """The logits of each head, and their dimension of clusters."""
        if self.head is None:
            return [(self.a, self.b)], self.dim
        pairs = zip(self.a.unbind(self.head), self.b.unbind(self.head), strict=True)
        return list(pairs), self.dim - (self.head < self.dim)


def checked_call(
    logits_a: Tensor,
    logits_b: Tensor,
    *,
    channel_dim: int,
    mask: Tensor | None,
    displacement: int,
    head_dim: int | None,
    group: ProcessGroup | None,
    impl: Implementation,
) -> Call:
    """Check the arguments of a loss over a joint and choose its implementation."""
    dim, head = check_logits(logits_a, logits_b, channel_dim=channel_dim, head_dim=head_dim)
    check_displacement(displacement)
    if displacement > 0:
        check_grid(logits_a, head=head)
    dtype = at_least_float32(logits_a, logits_b)
    weights = None
    if mask is not None:
        weights = pixel_weights(mask, logits_a, dim=dim, head=head).to(dtype)
        if mask.dtype != torch.bool:
            weights = weights.clamp_min(0.0)
    apart = logits_a.shape[dim] * (1 if head is None else logits_a.shape[head])
    lone = "it pairs each pixel with itself alone, and displacement is not 0"
    chosen = choose_implementation(
        impl,
        function="information",
        size=logits_a.numel() // apart,
        device=logits_a.device,
        dtype=dtype,
        unserved={"chunked": lone, "triton": lone} if displacement else None,
    )
    return Call(logits_a, logits_b, weights, dim, head, displacement, group, chosen)


def joint_of(call: Call) -> Joint:
    """The joint of every head (one where `head` is None), in float64 if the device has it."""
    with without_autocast(call.a):
        if call.implementation == "reference":
            p, q = _assignments(call.a, call), _assignments(call.b, call)
            found = pair_moments(p, q, call.weights, displacement=call.displacement)
            if call.group is None:
                return _joint(found)
            total = found.restored()
        else:
            total = _moments_in_blocks(call)
        total = sum_over_group(total, call.group)
        nothing = torch.zeros_like(total[..., :-1, -1])
        return _joint(PairMoments(total, nothing, nothing))


def _moments_in_blocks(call: Call) -> Tensor:
    heads, dim = call.heads()
    function = triton_information.moments if call.implementation == "triton" else moments
    return torch.stack([function(a, b, channel_dim=dim, weights=call.weights) for a, b in heads])


def _assignments(logits: Tensor, call: Call) -> Tensor:
    """(heads, ..., c), float64 where the device has it, so that a gradient is rounded once."""
    wide = call.dtype if logits.device.type in WITHOUT_FLOAT64 else torch.float64
    # Along the clusters where they are: an innermost dimension of few is slow to take softmaxes of.
    shares = logits.to(wide).softmax(call.dim)
    if call.head is None:
        return shares.movedim(call.dim, -1)[None]
    return shares.movedim((call.head, call.dim), (0, -1))


def _joint(found: PairMoments) -> Joint:
    mass = found.total[..., -1, -1, None]
    some = ~(mass <= 0)  # A weight that is not a number counts, and shows.
    means = torch.where(some[..., None], found.total, 0.0)
    means = means / torch.where(some, mass, 1.0)[..., None]
    above_p, above_q = means[..., :-1, -1], means[..., -1, :-1]
    uniform = 1.0 / above_p.shape[-1]
    return Joint(
        torch.where(some, above_p + found.low_p, uniform),
        torch.where(some, above_q + found.low_q, uniform),
        means[..., :-1, :-1] - _outer(above_p, above_q),
    )


def _outer(rows: Tensor, columns: Tensor) -> Tensor:
    return rows[..., :, None] * columns[..., None, :]
