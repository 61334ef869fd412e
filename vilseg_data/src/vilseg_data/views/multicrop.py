"""One global view and several local views of every image of a batch (Section 3.2 of ViL-Seg).

Notation: n images, v local views, g and l the sides of a global and of a local view.
"""

from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Generator, Tensor

from vilseg_data.views.boxes import crop, draw_boxes
from vilseg_data.views.checks import check_images, check_number, check_range
from vilseg_data.views.colour import jitter
from vilseg_data.views.draw import spread, uniform


@dataclass(frozen=True, kw_only=True, eq=False)
class Views:
    """The views of n images, each with its place in its source.

    Boxes are (x0, y0, x1, y1) in source pixels; where a flip is true, the view shows its box
    mirrored left to right. `views.boxes.box_maps` turns both into affine maps.
    """

    global_view: Tensor  # (n, 3, g, g)
    local_views: Tensor  # (v, n, 3, l, l)
    global_boxes: Tensor  # (n, 4) float32
    local_boxes: Tensor  # (v, n, 4) float32
    global_flips: Tensor  # (n,) bool
    local_flips: Tensor  # (v, n) bool


@dataclass(frozen=True, kw_only=True)
class MultiCrop:
    """Random crops of a batch, on the images' device, anti-aliased (see `views.boxes.crop`).

    Args:
        global_size: side g of the global view in pixels.
        local_size: side l of a local view in pixels.
        num_local: local views of each image (6 in the paper); 0 makes none.
        global_scale: range of the share of the image's area in the global view.
        local_scale: the same for local views.
        ratio: range of width / height of a box in source pixels; where the image is too long
            for it, the nearest ratio that fits.
        flip: probability of mirroring a view.
        brightness, contrast, saturation: b gives factors uniform in [1 - b, 1 + b] (see
            `views.colour.jitter`), drawn for each view; 0 everywhere leaves colours untouched.

    Raises:
        ValueError: a number is out of its range.
    """

    global_size: int
    local_size: int
    num_local: int = 6
    global_scale: tuple[float, float] = (0.5, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.4)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("global_size", 1), ("local_size", 1), ("num_local", 0)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < least:
                raise ValueError(
                    f"{name}: expected an integer of at least {least}, got {value!r}; "
                    "give it in whole pixels or views"
                )
        check_range(self.global_scale, name="global_scale", high=1.0)
        check_range(self.local_scale, name="local_scale", high=1.0)
        check_range(self.ratio, name="ratio", high=float("inf"))
        for name in ("flip", "brightness", "contrast", "saturation"):
            check_number(getattr(self, name), name=name, low=0.0, high=1.0)

    def __call__(self, images: Tensor, *, generator: Generator | None = None) -> Views:
        """Draw and cut the views of `images` (n, 3, h, w), floating point in [0, 1].

        Every view costs eight numbers of `generator` whatever the options are, so boxes do not
        change when colours are switched on. Views have the dtype of the images.

        Raises:
            ValueError: `images` is not a floating point batch of RGB images.
        """
        check_images(images, name="images", channels=3)
        n, _, h, w = images.shape
        draws = uniform(1 + self.num_local, n, 8, generator=generator)
        boxes = torch.cat(
            [
                draw_boxes(part[..., :4], size=(h, w), scale=scale, ratio=self.ratio)
                for part, scale in (
                    (draws[:1], self.global_scale),
                    (draws[1:], self.local_scale),
                )
            ]
        ).to(images.device)
        flips = (draws[..., 4] < self.flip).to(images.device)
        whole = crop(images, boxes[:1], flips=flips[:1], size=self.global_size)
        parts = crop(images, boxes[1:], flips=flips[1:], size=self.local_size)
        return Views(
            global_view=self._recolour(whole, draws[:1, :, 5:])[0],
            local_views=self._recolour(parts, draws[1:, :, 5:]),
            global_boxes=boxes[0],
            local_boxes=boxes[1:],
            global_flips=flips[0],
            local_flips=flips[1:],
        )

    def _recolour(self, views: Tensor, draws: Tensor) -> Tensor:
        widths = (self.brightness, self.contrast, self.saturation)
        if not any(widths):
            return views
        factors = [
            spread(draws[..., i].flatten(), 1 - width, 1 + width) for i, width in enumerate(widths)
        ]
        brightness, contrast, saturation = (factor.to(views.device) for factor in factors)
        return jitter(
            views.flatten(0, 1), brightness=brightness, contrast=contrast, saturation=saturation
        ).view_as(views)
