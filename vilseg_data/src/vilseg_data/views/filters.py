"""Linear filters of images as matrices: a separable filter is two matrix products.

Notation: n images (n, c, h, w), v filters of each; across (n, v, x, w) weighs columns and along
(n, v, y, h) weighs rows.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# How many widths a Gaussian reaches: beyond, it is below exp(-40).
_REACH = 9
# Pixels that are blurred by one matrix product on a CPU.
_TILE = 16


def separable(images: Tensor, *, across: Tensor, along: Tensor) -> Tensor:
    """Filter images by v pairs of matrices each, (v, n, c, y, x).

    Computes in the dtype of `across`, under autocast too, and returns the dtype of `images`.
    """
    (n, v, x, _), (c, h, _), y = across.shape, images.shape[1:], along.shape[2]
    with torch.autocast(images.device.type, enabled=False):
        # Laid out so that an image is read once for all its views and nothing is copied between:
        # (n, v x, w) (n, w, c h) -> (n, v x, c h) -> (n, v, x c, h) (n, v, h, y) -> (n, v, x c, y)
        narrow = across.flatten(1, 2) @ images.to(across.dtype).flatten(1, 2).mT
        views = narrow.view(n, v, x * c, h) @ along.mT
    views = views.view(n, v, x, c, y).permute(1, 0, 3, 4, 2)
    return views.to(images.dtype).contiguous()


def blur(images: Tensor, *, sigma: Tensor) -> Tensor:
    """Gaussian blur of images (n, c, h, w), each with its own widths.

    The Gaussian reaches as far as 9 widths. At the edges the weights that fall outside are left
    out and the others are scaled to sum to 1, so a constant image stays constant.

    Args:
        images: floating point.
        sigma: (n,), or (n, 2) for across and along, in pixels; 0 leaves an image as it is.
    """
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    # At 0.03 the neighbours weigh nothing.
    sigma = sigma.to(images.device, dtype).clamp(min=0.03)
    wide, high = sigma.unbind(-1) if sigma.ndim == 2 else (sigma, sigma)
    if images.device.type == "cpu" and len(images):
        reach = math.ceil(_REACH * float(sigma.max()))
        if _TILE + 2 * reach < min(images.shape[-2:]):
            with torch.autocast("cpu", enabled=False):
                blurred = _blur_rows(images.to(dtype), sigma=wide, reach=reach)
                blurred = _blur_rows(blurred.mT, sigma=high, reach=reach)
            return blurred.mT.to(images.dtype).contiguous()
    across = _gaussian(wide, length=images.shape[-1])
    along = _gaussian(high, length=images.shape[-2])
    return separable(images, across=across[:, None], along=along[:, None])[0]


def _blur_rows(values: Tensor, *, sigma: Tensor, reach: int) -> Tensor:
    """Gaussian along the rows of (n, c, h, w), by tiles of a row and what they can see."""
    w = values.shape[-1]
    offsets = torch.arange(_TILE + 2 * reach, dtype=sigma.dtype)[:, None] - reach
    weights = _bell(offsets - torch.arange(_TILE, dtype=sigma.dtype), sigma=sigma)

    def weigh(rows: Tensor) -> Tensor:
        padded = F.pad(rows, (reach, reach + -w % _TILE))
        seen = padded.unfold(-1, len(offsets), _TILE)
        return (seen.flatten(1, 3) @ weights).view(*rows.shape[:-1], -1)[..., :w]

    return weigh(values) / weigh(values.new_ones(len(values), 1, 1, w))


def _gaussian(sigma: Tensor, *, length: int) -> Tensor:
    """Weights (n, length, length) of pixels in blurred pixels."""
    pixels = torch.arange(length, dtype=sigma.dtype, device=sigma.device)
    weights = _bell(pixels - pixels[:, None], sigma=sigma)
    return weights / weights.sum(-1, keepdim=True)


def _bell(away: Tensor, *, sigma: Tensor) -> Tensor:
    """exp(-(away / sigma)^2 / 2) for each sigma (n,), (n, *away.shape)."""
    power = (away / sigma[:, None, None]).square() / 2
    # Below exp(-40), nothing even in float64, weights are 0: subnormal numbers would make the
    # matrix products seven times slower on a CPU.
    return torch.where(power < 40, (-power).exp(), 0)
