"""Image files to uint8 tensors (3, h, w) in RGB, whatever the file holds.

The EXIF orientation is applied; the first frame of an animation is taken; palette, grey, CMYK and
16-bit images become 8-bit RGB; transparency is laid on white. With `size` the image is squashed to
a size x size square (its aspect ratio is lost), and a JPEG that is to shrink is decoded at the
smallest of its own scales (1/8, 1/4, 1/2) that is still large enough. With simplejpeg installed
(`vilseg_data[jpeg]`), that decodes upright RGB and grey JPEGs, in two thirds of Pillow's time.
"""

import importlib
import io
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from vilseg_data.captions.sample import BrokenSampleError
from vilseg_data.resize import pixels_of, planes
from vilseg_data.resize import resize_square as resize_square  # where it was first

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image) -> Image.Image:
    # Not ImageOps.exif_transpose: it also writes the EXIF block anew, which fails on ill-formed
    # tags of photos whose pixels are sound.
    image.load()
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        # Pillow's own conversion clips at 255 instead of scaling.
        scaled = np.clip(np.asarray(image, dtype=np.int64) // 257, 0, 255).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")
    if image.mode == "F":
        raise ValueError("mode F: floating-point pixels have no known range")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


@cache
def fast_decoder() -> Any:
    """The module simplejpeg, or None where it is not installed."""
    try:
        return importlib.import_module("simplejpeg")
    except ImportError:
        return None


def _fast_jpeg(image: Image.Image, source: bytes | str | Path) -> Tensor | None:
    """Pixels (h, w, 3) of an opened JPEG at the scale drafted, if simplejpeg can read it."""
    decoder = fast_decoder()
    upright = image.getexif().get(ExifTags.Base.Orientation, 1) not in _TURNS
    if decoder is None or image.mode not in ("RGB", "L") or not upright:
        return None
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        pixels = decoder.decode_jpeg(data, "RGB", min_height=image.height, min_width=image.width)
    except ValueError:  # what it finds fault with is for Pillow to judge
        return None
    return torch.from_numpy(pixels)


def _decode(source: bytes | str | Path, *, size: int | None) -> Tensor:
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with Image.open(file) as image:
        pixels, limit = image.width * image.height, Image.MAX_IMAGE_PIXELS
        if limit is not None and pixels > limit:
            raise ValueError(f"{image.width} x {image.height} pixels, more than {limit}")
        if size is not None:
            image.draft(None, (size, size))
        fast = _fast_jpeg(image, source) if image.format == "JPEG" else None
        if fast is not None:
            return planes(fast, size=size)
        return planes(pixels_of(_to_rgb(_upright(image))), size=size)


def _is_empty(path: str | Path) -> bool:
    return os.path.isfile(path) and os.path.getsize(path) == 0


def decode_image(
    source: bytes | str | Path, *, key: str | None = None, size: int | None = None
) -> Tensor:
    """Decode a file, by its path or its bytes, into uint8 (3, h, w), with `size` (3, size, size).

    An unreadable, truncated or oversized (Pillow's `MAX_IMAGE_PIXELS`) image raises
    `BrokenSampleError`, named `key` or else by its path.
    """
    if size is not None and size < 1:
        raise ValueError(
            f"size: expected at least 1, came {size}; leave it out to keep the image's"
        )
    name = key if key is not None else "image" if isinstance(source, bytes) else str(source)
    if source == b"" if isinstance(source, bytes) else _is_empty(source):
        raise BrokenSampleError(name, "empty file")
    # Pillow's format readers raise OSError, SyntaxError, ValueError, struct.error, EOFError,
    # IndexError and others on damaged bytes, so every exception means the file is at fault.
    try:
        return _decode(source, size=size)
    except Exception as error:
        # The path or the address of the buffer is not part of the reason.
        text = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
        raise BrokenSampleError(name, text or type(error).__name__) from error
