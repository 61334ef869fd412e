"""The one way in which images are resized: bicubic and anti-aliased, in 8 bits.

torch's kernel for interleaved 8-bit pixels has the filter of Pillow's `resize(BICUBIC)` and is
several times as fast. Values differ by at most 2, but where the filter leaves 0 to 255 between its
passes over rows and columns, at hard edges of black or white: there torch clips twice. Like
decoding it runs without Python's lock, so threads share the work.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def resize_square(image: Tensor, *, size: int) -> Tensor:
    """Squash a uint8 image (3, h, w) to (3, size, size); the same tensor if it already fits.

    Raises:
        ValueError: another shape or dtype, or no pixel.
    """
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise ValueError(
            f"image: expected uint8 of shape (3, h, w), came {image.dtype} of shape "
            f"{tuple(image.shape)}; convert floats in [0, 1] with (image * 255).round().byte()"
        )
    if image.shape[1:] == (size, size):
        return image
    return planes(image.permute(1, 2, 0).contiguous(), size=size)


def resize_squares(images: Sequence[Tensor], *, size: int) -> Tensor:
    """Squash uint8 images (3, h, w) of any sizes to one tensor (n, 3, size, size)."""
    return torch.stack([resize_square(image, size=size) for image in images])


def planes(pixels: Tensor, *, size: int | None) -> Tensor:
    """Pixels (h, w, 3), or 4 of which the last is left out, as uint8 (3, h, w), or squashed."""
    image = pixels.permute(2, 0, 1)
    if size is not None and image.shape[1:] != (size, size):
        image = F.interpolate(image[None], (size, size), mode="bicubic", antialias=True)[0]
    return image[:3].contiguous()


def pixels_of(picture: Image.Image) -> Tensor:
    """The pixels of a picture of mode RGB, uint8 (h, w, 4), as Pillow has them in memory.

    Leaving the fourth byte out, as its own arrays do, takes three times as long.
    """
    pixels = np.frombuffer(bytearray(picture.tobytes("raw", "RGBX")), dtype=np.uint8)
    return torch.from_numpy(pixels.reshape(picture.height, picture.width, 4))
