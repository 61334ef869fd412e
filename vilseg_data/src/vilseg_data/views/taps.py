"""Resampling on the CPU by the few source pixels that weigh in each pixel of a view.

Notation: n images (n, c, h, w), v views of each, s pixels a side. An axis of a view is s positions
in source pixels, (n, v, s), and a reach (n, v): the half-width of its triangle filter.

As matrices the filters are nearly all zeros. Rows of memory are weighed and summed instead, by
torch's embedding bag: along columns on the transposed image, then along rows. On a GPU, and where
gradients are wanted, `filters.separable` does the same by matrix products.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Taps:
    """Which source pixels (n, v, s, k) a view's pixels are made of, and their weights.

    first, last: (n, v), the range of these source pixels, the last one included.
    """

    index: Tensor
    weight: Tensor
    first: Tensor
    last: Tensor


def find_taps(centres: Tensor, *, reach: Tensor, length: int) -> Taps:
    """The taps of triangle filters about `centres` over an axis of `length` pixels."""
    wide = reach[..., None]
    # At most so many pixel centres lie inside an interval of twice the reach.
    count = int((2 * reach).amax().ceil())
    start = (centres - wide - 0.5).floor() + 1
    index = start[..., None] + torch.arange(count, dtype=centres.dtype, device=centres.device)
    weight = (1 - (index + 0.5 - centres[..., None]).abs() / wide[..., None]).clamp(min=0)
    weight = torch.where((index >= 0) & (index < length), weight, 0)
    index = index.clamp(0, length - 1).long()
    return Taps(
        index=index,
        weight=weight / weight.sum(-1, keepdim=True),
        first=index.amin((-2, -1)),
        last=index.amax((-2, -1)),
    )


def resample(images: Tensor, *, across: Taps, along: Taps) -> Tensor:
    """Views (v, n, c, s, s) of `images`, in the dtype of the weights, one image at a time."""
    (n, v, s, _), (c, h) = across.index.shape, images.shape[1:3]
    first, last = along.first.tolist(), along.last.tolist()
    tall = 1 + int((along.last - along.first).amax())
    # Rows of view, channel and source row, of which only those that weigh are filled in.
    rows = across.weight.new_empty(v, c, tall, s)
    lead = torch.arange(v * c, device=rows.device).view(v, c, 1, 1) * tall
    views = across.weight.new_empty(v, n, c, s, s)
    for i, image in enumerate(images):
        columns = image.reshape(c * h, -1).t().to(across.weight.dtype).contiguous()
        narrow = _weigh(columns, index=across.index[i], weight=across.weight[i]).view(v, s, c, h)
        for k in range(v):
            low, high = first[i][k], last[i][k] + 1
            for channel in range(c):
                rows[k, channel, : high - low] = narrow[k, :, channel, low:high].t()
        own = (along.index[i] - along.first[i][:, None, None])[:, None] + lead
        weight = along.weight[i][:, None].expand_as(own)
        views[:, i] = _weigh(rows.view(-1, s), index=own, weight=weight).view(v, c, s, s)
    return views


def _weigh(table: Tensor, *, index: Tensor, weight: Tensor) -> Tensor:
    """Sums of the rows of `table` (r, d) at `index` (..., k) times `weight`, (m, d)."""
    k = index.shape[-1]
    return F.embedding_bag(
        index.reshape(-1, k), table, mode="sum", per_sample_weights=weight.reshape(-1, k)
    )
