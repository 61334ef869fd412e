"""Colour changes of a batch, each image by its own numbers.

Notation: images (n, 3, h, w), for `jitter`, `turn_hue` and `solarise` in [0, 1]; every function
returns the dtype that came and computes in float32 at least.
"""

import torch
from torch import Tensor

# ITU-R BT.601 luma, the grey of JPEG, Pillow and torchvision.
LUMA = (0.299, 0.587, 0.114)


def scale_and_shift(images: Tensor, *, gain: Tensor, bias: Tensor) -> Tensor:
    """`images * gain + bias`, one number an image and channel, (n, c); not clamped."""
    work = _working(images)
    return (work * _pixelwise(gain, work)).add_(_pixelwise(bias, work)).to(images.dtype)


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


def turn_hue(images: Tensor, *, turn: Tensor) -> Tensor:
    """Move the hue of HSV by `turn` (n,), in shares of the colour circle.

    Grey pixels stay, and so do the largest and the smallest channel of every pixel; 0 and whole
    turns change nothing but by rounding.
    """
    # Masks are numbers and the circle is cut by `floor`: `where` and `remainder` take ten times as
    # long as arithmetic on a CPU.
    work = _working(images)
    red, green, blue = work[:, :1], work[:, 1:2], work[:, 2:]
    high = torch.maximum(torch.maximum(red, green), blue)
    chroma = high - torch.minimum(torch.minimum(red, green), blue)
    # In sixths of the circle counted from red, times the chroma.
    hue = torch.lerp(
        red - green + 4 * chroma, blue - red + 2 * chroma, (high == green).to(work.dtype)
    )
    hue = torch.lerp(hue, green - blue, (high == red).to(work.dtype))
    hue = hue / chroma.clamp(min=torch.finfo(work.dtype).tiny)
    # A channel is at its largest within one sixth of its own hue, at its smallest beyond two.
    start = torch.tensor([5, 3, 1], dtype=work.dtype, device=work.device)[:, None, None]
    place = start + (hue + 6 * _pixelwise(turn[:, None], work))
    place = place - 6 * (place / 6).floor()
    return (high - chroma * (2 - (place - 2).abs()).clamp(0, 1)).to(images.dtype)


def solarise(images: Tensor, *, threshold: float) -> Tensor:
    """Invert the values from `threshold` upwards."""
    return torch.lerp(images, 1 - images, (images >= threshold).to(images.dtype))


def grey(images: Tensor) -> Tensor:
    """Luma of RGB images, (n, 1, h, w)."""
    weights = torch.tensor(LUMA, dtype=images.dtype, device=images.device)
    return (images * weights[:, None, None]).sum(-3, keepdim=True)


def _working(images: Tensor) -> Tensor:
    return images if images.dtype == torch.float64 else images.float()


def _pixelwise(numbers: Tensor, images: Tensor) -> Tensor:
    return numbers.to(images)[:, :, None, None]
