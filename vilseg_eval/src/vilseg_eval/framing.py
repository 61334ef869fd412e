"""How an image is shown to the model: its size, its shape, whole or in windows.

Legend: (h, w) one image, (H, W) the same at the size the model sees, p the side of a patch. Sides
and positions are in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vilseg_data.resize import resize_square

LONGEST = 8
"""The long side is at most this many short sides; what is longer is squashed to that."""

_Positive = Annotated[int, Field(ge=1)]


class InferenceConfig(BaseModel):
    """How images go through a model and how its answer comes back to their size.

    `resize="square"` squashes an image to `image_size` x `image_size`; `"short"` keeps its shape,
    with `image_size` as the short side and both sides whole numbers of patches. With `window` the
    model sees squares of that side, `stride` apart (half a window where left out), and what
    overlaps is averaged: the pixel `"features"`, from which clusters are then chosen, or the
    cluster `"logits"` (names always come from averaged features). `batch_size` counts forward
    passes of one size. `upsampling` brings cluster logits to the image bilinearly (`"logits"`),
    does so with their `"softmax"`, or takes the `"nearest"` token's cluster; `refine` is the
    number of passes of `vilseg_eval.refine` after that, 0 for none. With `softness` above 0 a token
    is no longer of one region: it is shared by softmax(cluster logits / softness) over the regions
    of the image, whose features are pooled with those shares, and has the mean of their scores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: _Positive | None = None
    resize: Literal["square", "short"] = "square"
    window: _Positive | None = None
    stride: _Positive | None = None
    average: Literal["features", "logits"] = "features"
    batch_size: _Positive = 8
    upsampling: Literal["logits", "softmax", "nearest"] = "logits"
    refine: Annotated[int, Field(ge=0)] = 0
    softness: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    @model_validator(mode="after")
    def _shares_are_of_tokens(self) -> Self:
        if self.softness and (self.refine or self.upsampling != "logits"):
            raise ValueError(
                f"softness: expected 0 beside refine={self.refine} and "
                f"upsampling={self.upsampling!r}, which are of whole clusters, came "
                f"{self.softness:g}; leave out one or the other"
            )
        return self

    @model_validator(mode="after")
    def _windows_cover(self) -> Self:
        if self.stride is not None and self.window is None:
            raise ValueError(
                f"stride: expected a window beside it, came stride={self.stride} alone; set window"
            )
        if self.stride is not None and self.window is not None and self.stride > self.window:
            raise ValueError(
                f"stride: expected at most window={self.window}, came {self.stride}, which leaves "
                "gaps; lower it"
            )
        return self

    def fitted(self, *, image_size: int, patch_size: int) -> Framing:
        """The sizes for a model of `image_size` and `patch_size`.

        Raises:
            ValueError: a size is not a whole number of patches.
        """
        side = image_size if self.image_size is None else self.image_size
        stride = self.stride
        if stride is None and self.window is not None:
            stride = max(1, self.window // 2 // patch_size) * patch_size
        for name, value in (("image_size", side), ("window", self.window), ("stride", stride)):
            if value is not None and value % patch_size:
                near = max(1, value // patch_size) * patch_size
                raise ValueError(
                    f"{name}: expected a multiple of the patch size {patch_size}, came {value}; "
                    f"set it to {near} or {near + patch_size}"
                )
        return Framing(side, self.resize, self.window, stride, patch_size)


class Framing(NamedTuple):
    """Sizes in pixels, all whole numbers of patches; see `InferenceConfig`."""

    image_size: int
    resize: Literal["square", "short"]
    window: int | None
    stride: int | None
    patch_size: int

    def frame(self, image: Tensor) -> Tensor:
        """The uint8 image (3, h, w) at the size the model sees: uint8 (3, H, W) on the CPU."""
        if self.resize == "square":
            return resize_square(image.cpu(), size=self.image_size)
        height, width = self.size(image.shape[1], image.shape[2])
        if image.shape[1:] == (height, width):
            return image.cpu()
        picture = Image.fromarray(image.cpu().permute(1, 2, 0).contiguous().numpy())
        resized = picture.resize((width, height), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of an image (h, w)."""
        if self.resize == "square":
            return self.image_size, self.image_size
        short = min(height, width)
        patches = self.image_size / self.patch_size
        most = int(LONGEST * patches)
        sides = (min(most, max(1, round(side / short * patches))) for side in (height, width))
        tall, wide = (side * self.patch_size for side in sides)
        return tall, wide

    def windows(self, height: int, width: int) -> list[Window]:
        """The parts of an image (H, W) that the model sees, row by row; they cover it."""
        if self.window is None or self.stride is None:
            return [Window(0, 0, height, width)]
        tall, wide = min(self.window, height), min(self.window, width)
        tops = _starts(height, size=tall, stride=self.stride)
        lefts = _starts(width, size=wide, stride=self.stride)
        return [Window(top, left, tall, wide) for top, left in product(tops, lefts)]


class Window(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, image: Tensor, *, unit: int = 1) -> Tensor:
        """This part of (..., H, W), or of a grid (..., H / unit, W / unit)."""
        top, left, height, width = (side // unit for side in self)
        return image[..., top : top + height, left : left + width]


def check_images(images: Sequence[Tensor]) -> None:
    """ValueError unless there is an image and each is uint8 (3, h, w)."""
    if not images:
        raise ValueError("images: expected at least one, got none")
    for number, image in enumerate(images):
        if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8 or 0 in image.shape:
            raise ValueError(
                f"images: expected uint8 (3, h, w), got {image.dtype} {tuple(image.shape)} "
                f"at position {number}"
            )


def _starts(length: int, *, size: int, stride: int) -> list[int]:
    """Where windows begin; the last one ends with the image."""
    last = length - size
    return [*range(0, last, stride), last]
