"""Soft assignments of one block of pixels after another, in memory that is used again.

c = clusters, m = pixels of a block. Logits, assignments and gradients are (c, ...) in any strides;
what is computed with are matrices (c, m).
"""

import torch
from torch import Tensor

from vilseg_core._numerics import at_least_float32

INNERMOST_FROM = 16
"""Clusters from which a softmax over an innermost dimension is as fast as two transpositions."""
WHOLE = 16
"""Rows of which products are fastest in multiples: 25 take as long as 32."""


class Rooms:
    """Memory for matrices of a block, their clusters innermost where that is the faster."""

    def __init__(self, a: Tensor, b: Tensor, pixels: int) -> None:
        self.clusters = a.shape[0]
        self.pixels = min(pixels, a[0].numel())
        self.dtype = at_least_float32(a, b)
        self.innermost = a.stride(0) == b.stride(0) == 1 and self.clusters >= INNERMOST_FROM
        self.width = _width(self.clusters)
        self._like = a
        self._numbers: dict[str, Tensor] = {}

    def matrix(self, room: str, pixels: int) -> Tensor:
        """(c, m), with what was there before."""
        return self._room(room, self.clusters, pixels)

    def above(self, shares: Tensor, low: Tensor, weights: Tensor | None, *, room: str) -> Tensor:
        """w [shares - low; 1], and rows of no meaning below them: (width, m)."""
        found = self._room(room, self.width, shares.shape[1])
        torch.sub(shares, low[:, None], out=found[: self.clusters])
        found[self.clusters] = 1.0
        if weights is not None:
            found[: self.clusters + 1] *= weights
        return found

    def assignments(self, logits: Tensor, *, room: str, keep: Tensor | None = None) -> Tensor:
        """Softmax over the clusters of a block of logits, as a matrix.

        In the memory of the block `keep`, in whatever order, where that is one run of numbers, else
        written to it, too.
        """
        line = None if keep is None else _line(keep)
        pixels = logits[0].numel()
        found = self.matrix(room, pixels) if line is None else self._matrix_of(line, pixels)
        source = self._lying(logits)
        if source is None:
            source = self.copy(logits, room="source")
        torch.softmax(self._stored(source), int(self.innermost), out=self._stored(found))
        if keep is not None and line is None:
            keep.copy_(torch.unflatten(found, 1, keep.shape[1:]))
        return found

    def kept(self, block: Tensor, *, room: str) -> Tensor:
        """What `assignments` has left in `block`."""
        line = _line(block)
        if line is None:
            return self.copy(block, room=room)
        return self._matrix_of(line, block[0].numel())

    def copy(self, block: Tensor, *, room: str) -> Tensor:
        """(c, ...) as a matrix."""
        found = self.matrix(room, block[0].numel())
        torch.unflatten(found, 1, block.shape[1:]).copy_(block)
        return found

    def through_softmax(
        self, slopes: Tensor, shares: Tensor, weights: Tensor | None, *, out: Tensor
    ) -> None:
        """w shares (slopes - sum of shares slopes over clusters) to a block of gradients.

        `shares` may lie in the memory of the block; they are lost.
        """
        lying = self._lying(out)
        found = self.matrix("source", slopes.shape[1]) if lying is None else lying
        torch.ops.aten._softmax_backward_data.out(
            self._stored(slopes),
            self._stored(shares),
            int(self.innermost),
            slopes.dtype,
            grad_input=self._stored(found),
        )
        if weights is not None:
            found *= weights
        if lying is None:
            out.copy_(torch.unflatten(found, 1, out.shape[1:]))

    def _room(self, room: str, rows: int, pixels: int) -> Tensor:
        if room not in self._numbers:
            # Zeros, since rows of no meaning must still be numbers.
            self._numbers[room] = self._like.new_zeros(rows * self.pixels, dtype=self.dtype)
        return self._matrix_of(self._numbers[room][: rows * pixels], pixels)

    def _matrix_of(self, line: Tensor, pixels: int) -> Tensor:
        return line.view(pixels, -1).T if self.innermost else line.view(-1, pixels)

    def _lying(self, block: Tensor) -> Tensor | None:
        """A block (c, ...) as a matrix without a copy, where it lies as one in the right dtype."""
        rest = block.movedim(0, -1) if self.innermost else block
        if block.dtype != self.dtype or not rest.is_contiguous():
            return None
        return self._matrix_of(rest.reshape(-1), block[0].numel())

    def _stored(self, matrix: Tensor) -> Tensor:
        """As it lies in memory, which torch's softmax would otherwise copy."""
        return matrix.T if self.innermost else matrix


def _width(clusters: int) -> int:
    """Rows of an operand of a product: one a cluster, one of ones, a few where that is faster."""
    spare = -(clusters + 1) % WHOLE
    return clusters + 1 + (spare if clusters > WHOLE and spare < WHOLE // 2 else 0)


def _line(block: Tensor) -> Tensor | None:
    """The numbers of a block in the order of memory, where they are one run."""
    order = sorted(range(block.ndim), key=block.stride().__getitem__, reverse=True)
    lying = block.permute(order)
    return lying.view(-1) if lying.is_contiguous() else None
