"""Views of Pillow images, which need not be of one size: what a data loader's worker cuts."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Pictures = Image.Image | Sequence[Image.Image]


def as_list(pictures: Pictures) -> list[Image.Image]:
    """One picture or several as a list.

    Raises:
        ValueError: something else among them, another mode than RGB, no pixels.
    """
    found = [pictures] if isinstance(pictures, Image.Image) else list(pictures)
    for index, picture in enumerate(found):
        if not isinstance(picture, Image.Image):
            raise ValueError(
                f"images: expected a tensor (n, 3, h, w), a Pillow image or a list of them, came "
                f"{type(picture).__name__} at {index}; stack tensors with torch.stack"
            )
        if picture.mode != "RGB":
            raise ValueError(
                f"images: expected Pillow images of mode RGB, came {picture.mode} at {index}; "
                'use image.convert("RGB")'
            )
        if 0 in picture.size:
            raise ValueError(
                f"images: expected at least one pixel, came {picture.size} at {index}; leave it out"
            )
    return found


def crop_pictures(
    pictures: Sequence[Image.Image], boxes: Tensor, *, flips: Tensor, size: int
) -> Tensor:
    """Cut `boxes` (v, n, 4) out of n pictures, resized to (v, n, 3, size, size) in [0, 1].

    What `boxes.crop` does, by Pillow itself: it computes in 8 bits, so values differ from those
    of `crop` by up to 1.5 / 255.
    """
    views = np.empty((*boxes.shape[:2], size, size, 3), dtype=np.uint8)
    for v, row in enumerate(zip(boxes.tolist(), flips.tolist(), strict=True)):
        for n, (picture, box, flip) in enumerate(zip(pictures, *row, strict=True)):
            cut = picture.resize((size, size), Image.Resampling.BILINEAR, box=tuple(box))
            views[v, n] = np.asarray(cut)[:, ::-1] if flip else np.asarray(cut)
    planes = torch.from_numpy(views).permute(0, 1, 4, 2, 3)
    return planes.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
