"""Crop boxes: drawing them, cutting them out, mapping views on one another.

Notation: boxes (..., 4) as (x0, y0, x1, y1) in source pixels, edges not centres, so the whole
image is (0, 0, w, h). A view is a square crop of some size, mirrored where its flip is true.
"""

import math

import torch
from torch import Tensor

from vilseg_data.views.draw import spread
from vilseg_data.views.filters import separable
from vilseg_data.views.taps import find_taps, resample

# Multiply-adds of a view's two matrix products up to which they take less time than the calls
# that sum its pixels.
_FEW_PRODUCTS = 2**20


def draw_boxes(
    draws: Tensor, *, size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Turn uniform numbers (..., 4) into boxes (..., 4) inside an image of `size` (h, w).

    The area share is uniform in `scale`. The ratio (width / height) is uniform in the logarithm
    over the part of `ratio` that fits into the image at this area; where nothing of it fits, it is
    the fitting ratio nearest to the range. So the area share always holds, nothing is rejected
    and every box costs four numbers.
    """
    h, w = size
    area, shape, right, down = draws.double().unbind(-1)
    share = spread(area, *scale)
    # width <= w and height <= h, solved for the logarithm of the ratio
    middle, slack = math.log(w / h), -share.log()
    low = (middle - slack).clamp(min=math.log(ratio[0]))
    high = (middle + slack).clamp(max=math.log(ratio[1]))
    low, high = torch.minimum(low, middle + slack), torch.maximum(high, middle - slack)
    half = (low + (high - low) * shape) / 2
    side = (share * (w * h)).sqrt()
    width, height = (side * half.exp()).clamp(max=w), (side * (-half).exp()).clamp(max=h)
    x0, y0 = right * (w - width), down * (h - height)
    return torch.stack([x0, y0, x0 + width, y0 + height], dim=-1).float()


def box_maps(boxes: Tensor, flips: Tensor, *, size: tuple[int, int]) -> Tensor:
    """The affine maps (n, 2, 3) of views with `boxes` (n, 4) and `flips` (n,) of images of `size`.

    They send normalised positions of a view to normalised positions of its source image (see
    `geometry`), so `compose(invert(box_maps(a)), box_maps(b))` finds view b on view a.
    """
    h, w = size
    extent = boxes.new_tensor([w, h])
    half = (boxes[:, 2:] - boxes[:, :2]) / extent
    centre = (boxes[:, 2:] + boxes[:, :2]) / extent - 1
    sign = torch.where(flips, -1.0, 1.0).to(boxes)
    linear = torch.diag_embed(torch.stack([half[:, 0] * sign, half[:, 1]], dim=-1))
    return torch.cat([linear, centre[:, :, None]], dim=-1)


def crop(images: Tensor, boxes: Tensor, *, flips: Tensor, size: int) -> Tensor:
    """Cut `boxes` (v, n, 4) out of `images` (n, c, h, w), resized to (v, n, c, size, size).

    Anti-aliased: a triangle filter of half-width one source pixel or one view pixel, whichever
    is larger, over the whole source (Pillow's `resize(BILINEAR, box=...)`). On the CPU the few
    pixels that weigh are summed (`taps`); of small images, on a GPU, and where gradients are
    wanted, a view is two matrix products. The two agree to rounding. Away from the edges, what a
    view shows is where its box says, exactly when enlarging and within 0.086 source pixels when
    shrinking (the filter then spans a broken number of pixels). The whole image at its own size
    comes back bit for bit; on CUDA this holds unless TF32 is switched on for matrix products.
    """
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    c, h, w = images.shape[-3:]
    if images.device.type == "cpu" and h == w == size and _whole(boxes, flips, size=size):
        return images.expand(len(boxes), *images.shape).clone()
    boxes, flips = boxes.to(dtype).transpose(0, 1), flips.transpose(0, 1)
    columns, rows = (_centres(boxes[..., i], boxes[..., i + 2], size=size) for i in (0, 1))
    columns = torch.where(flips[..., None], columns.flip(-1), columns)
    wide, high = ((boxes[..., i + 2] - boxes[..., i]) / size for i in (0, 1))
    axes = (columns, wide.clamp(min=1), w), (rows, high.clamp(min=1), h)
    large = size * c * h * (w + size) > _FEW_PRODUCTS
    if images.device.type == "cpu" and large and columns.numel() and not _differentiable(images):
        across, along = (find_taps(at, reach=reach, length=length) for at, reach, length in axes)
        return resample(images, across=across, along=along).to(images.dtype)
    columns, rows = (_weights(at, reach=reach, length=length) for at, reach, length in axes)
    return separable(images, across=columns, along=rows)


def _whole(boxes: Tensor, flips: Tensor, *, size: int) -> bool:
    """Whether every view is its image as it is, of `size` pixels a side."""
    return not bool(flips.any()) and bool((boxes == boxes.new_tensor([0, 0, size, size])).all())


def _differentiable(images: Tensor) -> bool:
    return images.requires_grad and torch.is_grad_enabled()


def _centres(start: Tensor, end: Tensor, *, size: int) -> Tensor:
    """Positions (..., size) of the pixels of a view, in source pixels."""
    pixels = torch.arange(size, dtype=start.dtype, device=start.device) + 0.5
    return start[..., None] + ((end - start) / size)[..., None] * pixels


def _weights(centres: Tensor, *, reach: Tensor, length: int) -> Tensor:
    """Weights (..., size, length) of source pixels in view pixels, of triangles of that reach."""
    pixels = torch.arange(length, dtype=centres.dtype, device=centres.device) + 0.5
    away = (pixels - centres[..., None]).abs() / reach[..., None, None]
    weights = (1 - away).clamp(min=0)
    return weights / weights.sum(-1, keepdim=True)
