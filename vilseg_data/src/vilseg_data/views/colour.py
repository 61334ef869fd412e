"""Colour changes of a batch, each image by its own numbers.

Notation: images (n, 3, h, w); every function returns the dtype that came and computes in
float32 at least.
"""

import torch
from torch import Tensor

# ITU-R BT.601 luma, the grey of JPEG, Pillow and torchvision.
LUMA = (0.299, 0.587, 0.114)


def scale_and_shift(images: Tensor, *, gain: Tensor, bias: Tensor) -> Tensor:
    """`images * gain + bias`, one number an image and channel, (n, c); not clamped."""
    work = _working(images)
    return (work * _pixelwise(gain, work) + _pixelwise(bias, work)).to(images.dtype)


def undo_scale_and_shift(images: Tensor, *, gain: Tensor, bias: Tensor) -> Tensor:
    """The inverse of `scale_and_shift` with the same numbers."""
    work = _working(images)
    return ((work - _pixelwise(bias, work)) / _pixelwise(gain, work)).to(images.dtype)


def jitter(images: Tensor, *, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Brightness, then contrast, then saturation by factors (n,); clamped to [0, 1] at the end.

    Each blends the image with something plainer and 1 changes nothing: brightness with black,
    contrast with the mean grey of the image, saturation with the grey of each pixel.
    """
    work = _working(images)
    work = work * _pixelwise(brightness[:, None], work)
    factor = _pixelwise(contrast[:, None], work)
    work = factor * work + (1 - factor) * grey(work).mean((-2, -1), keepdim=True)
    factor = _pixelwise(saturation[:, None], work)
    work = factor * work + (1 - factor) * grey(work)
    return work.clamp(0, 1).to(images.dtype)


def grey(images: Tensor) -> Tensor:
    """Luma of RGB images, (n, 1, h, w)."""
    weights = torch.tensor(LUMA, dtype=images.dtype, device=images.device)
    return (images * weights[:, None, None]).sum(-3, keepdim=True)


def _working(images: Tensor) -> Tensor:
    return images if images.dtype == torch.float64 else images.float()


def _pixelwise(numbers: Tensor, images: Tensor) -> Tensor:
    return numbers.to(images)[:, :, None, None]
