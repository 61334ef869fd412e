"""Soft assignments of one block of pixels after another, in memory that is used again.

c = clusters, m = pixels of a block. Logits and assignments are (c, ...) in any strides; what is
computed with are matrices (c, m).
"""

import torch
from torch import Tensor

from vilseg_core._numerics import at_least_float32

INNERMOST_FROM = 16
"""Clusters from which a softmax over an innermost dimension is as fast as two transpositions."""
SPARE = 2
"""The room that `Rooms.assignments` overwrites."""


class Rooms:
    """Memory for matrices of a block, their clusters innermost where that is the faster."""

    def __init__(self, a: Tensor, b: Tensor, pixels: int, *, count: int) -> None:
        self.clusters = a.shape[0]
        numbers = min(a.numel(), self.clusters * pixels)
        self.dtype = at_least_float32(a, b)
        self.numbers = [a.new_empty(numbers, dtype=self.dtype) for _ in range(count)]
        self.innermost = a.stride(0) == b.stride(0) == 1 and self.clusters >= INNERMOST_FROM

    def matrix(self, room: int, pixels: int) -> Tensor:
        """Unset numbers, (c, m)."""
        numbers = self.numbers[room][: self.clusters * pixels]
        return numbers.view(pixels, -1).T if self.innermost else numbers.view(-1, pixels)

    def copy(self, block: Tensor, *, room: int) -> Tensor:
        """(c, ...) as a matrix."""
        found = self.matrix(room, block[0].numel())
        torch.unflatten(found, 1, block.shape[1:]).copy_(block)
        return found

    def assignments(self, block: Tensor, *, room: int, keep: Tensor | None = None) -> Tensor:
        """Softmax over the clusters of logits (c, ...), as a matrix; written to `keep`, too.

        `keep` has the shape and the order of strides of `block`; the result does not depend on it.
        """
        block = block.to(self.dtype)
        if block.stride(0) == 1 and not self.innermost:
            found = self.matrix(room, block[0].numel())
            torch.softmax(self.copy(block, room=SPARE), 0, out=found)
            if keep is not None:
                keep.copy_(torch.unflatten(found, 1, keep.shape[1:]))
            return found
        if keep is None:
            keep = torch.empty_like(block)
        # In the order of memory, in which torch takes a softmax without a copy.
        order = sorted(range(block.ndim), key=block.stride().__getitem__, reverse=True)
        torch.softmax(block.permute(order), order.index(0), out=keep.permute(order))
        return self.copy(keep, room=room)

    def through_softmax(self, slopes: Tensor, shares: Tensor, *, out: Tensor) -> None:
        """shares (slopes - sum of shares slopes over clusters), all (c, m)."""
        torch.ops.aten._softmax_backward_data.out(
            self._stored(slopes),
            self._stored(shares),
            int(self.innermost),
            slopes.dtype,
            grad_input=self._stored(out),
        )

    def _stored(self, matrix: Tensor) -> Tensor:
        """As it lies in memory, which torch's softmax would otherwise copy."""
        return matrix.T if self.innermost else matrix
