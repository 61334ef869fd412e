"""Crop boxes: drawing them, cutting them out, mapping views on one another.

Notation: boxes (..., 4) as (x0, y0, x1, y1) in source pixels, edges not centres, so the whole
image is (0, 0, w, h). A view is a square crop of some size, mirrored where its flip is true.
"""

import math

import torch
from torch import Tensor

from vilseg_data.views.draw import spread


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
    is larger, over the whole source (Pillow's `resize(BILINEAR, box=...)`). The filter is
    separable, so a view is two small matrix products. The whole image at its own size comes back
    bit for bit; on CUDA this holds unless TF32 is switched on for matrix products.
    """
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    (v, n), (c, h, w) = boxes.shape[:2], images.shape[1:]
    boxes = boxes.to(dtype)
    across = _weights(boxes[..., 0], boxes[..., 2], length=w, size=size)
    across = torch.where(flips[..., None, None], across.flip(-2), across)
    along = _weights(boxes[..., 1], boxes[..., 3], length=h, size=size)
    with torch.autocast(images.device.type, enabled=False):
        # All views of an image at once, so that the image is read once and never copied.
        rows = images.to(dtype).reshape(n, c * h, w) @ across.permute(1, 3, 0, 2).reshape(n, w, -1)
        rows = rows.view(n, c, h, v, size).permute(3, 0, 2, 1, 4).reshape(v, n, h, c * size)
        views = (along @ rows).view(v, n, size, c, size).transpose(2, 3)
    return views.to(images.dtype).contiguous()


def _weights(start: Tensor, end: Tensor, *, length: int, size: int) -> Tensor:
    """Filter weights (..., size, length) of `size` view pixels over `length` source pixels."""
    step = ((end - start) / size)[..., None, None]
    pixels = torch.arange(max(size, length), dtype=start.dtype, device=start.device) + 0.5
    centres = start[..., None, None] + step * pixels[:size, None]
    weights = (1 - (pixels[:length] - centres).abs() / step.clamp(min=1)).clamp(min=0)
    return weights / weights.sum(-1, keepdim=True)
