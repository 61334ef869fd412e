"""One global view and several local views of every image of a batch (Section 3.2 of ViL-Seg).

Notation: n images, v local views, g and l the sides of a global and of a local view.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import torch
from PIL import Image
from torch import Generator, Tensor

from vilseg_data.views.appearance import Appearance
from vilseg_data.views.boxes import crop, draw_boxes
from vilseg_data.views.checks import (
    Chance,
    check_chance,
    check_generator,
    check_images,
    check_number,
    check_range,
)
from vilseg_data.views.draw import Rows, uniform
from vilseg_data.views.pictures import Pictures, as_list, crop_pictures
from vilseg_data.views.result import Views

# The options that are a probability, for all views or for each kind.
CHANCES = ("flip", "jitter", "grey", "blur", "solarise")


@dataclass(frozen=True, kw_only=True)
class MultiCrop:
    """Random crops of a batch, on the images' device, anti-aliased (see `views.boxes.crop`).

    The looks of a view are changed in this order: brightness, contrast, saturation, hue, grey,
    blur, solarise. A probability is one number, or two as (global, local).

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
        hue: largest turn of the hue in either direction, as a share of the colour circle.
        jitter: probability of brightness, contrast, saturation and hue together.
        grey: probability of losing all colour.
        blur: probability of a Gaussian blur.
        blur_sigma: range of its standard deviation in pixels of the view, uniform.
        solarise: probability of inverting the values from `solarise_threshold` upwards.

    Raises:
        ValueError: a number is out of its range.
    """

    global_size: int
    local_size: int
    num_local: int = 6
    global_scale: tuple[float, float] = (0.5, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.4)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: Chance = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    jitter: Chance = 1.0
    grey: Chance = 0.0
    blur: Chance = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarise: Chance = 0.0
    solarise_threshold: float = 0.5

    def __post_init__(self) -> None:
        for name, least in (("global_size", 1), ("local_size", 1), ("num_local", 0)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < least:
                raise ValueError(
                    f"{name}: expected an integer of at least {least}, came {value!r}; "
                    "give it in whole pixels or views"
                )
        check_range(self.global_scale, name="global_scale", high=1.0)
        check_range(self.local_scale, name="local_scale", high=1.0)
        for name in ("ratio", "blur_sigma"):
            check_range(getattr(self, name), name=name, high=float("inf"))
        for name in CHANCES:
            check_chance(getattr(self, name), name=name)
        for name in ("brightness", "contrast", "saturation", "solarise_threshold"):
            check_number(getattr(self, name), name=name, low=0.0, high=1.0)
        check_number(self.hue, name="hue", low=0.0, high=0.5)

    def __call__(
        self,
        images: Tensor | Pictures,
        *,
        generator: Generator | None = None,
        rows: tuple[int, int] | None = None,
    ) -> Views:
        """Draw and cut the views of `images`.

        A tensor gives views of its dtype on its device. Pillow images, which may differ in size,
        give float32 views on the CPU, the same but for Pillow's rounding to 8 bits; one image
        gives a batch of one, and `Views.cat` joins what the workers of a DataLoader cut.

        Every view costs eight numbers of `generator`, and six more once one of hue, jitter, grey,
        blur and solarise is switched on; those six are drawn after all the others, so boxes, flips
        and factors do not change with any option.

        Args:
            images: (n, 3, h, w) floating point in [0, 1], a Pillow image of mode RGB, or a list
                of them.
            generator: where the numbers come from, best on the CPU, which gives the same views
                on every device; None is torch's global generator.
            rows: (first, total) where the images are those from `first` on of a batch of `total`:
                they get the views that they would have there, and the generator goes on as there.

        Raises:
            ValueError: `images` is not a floating point batch of RGB images, `generator` is on
                another device than the CPU and the images, or `rows` do not fit.
        """
        if not isinstance(images, Tensor):
            images = as_list(images)
        n, sizes, device = _describe(images)
        check_generator(generator, device=device)
        whole = Rows(*(rows or (0, n)))
        whole.check(n)
        own = slice(whole.first, whole.first + n)
        draws = uniform(1 + self.num_local, whole.total, 8, generator=generator)[:, own]
        looks = [self._appearance(kind) for kind in (0, 1)]
        second = None
        if any(look.has_second for look in looks):
            shape = (1 + self.num_local, whole.total, Appearance.SECOND)
            second = uniform(*shape, generator=generator)[:, own]
        boxes = self._boxes(draws[..., :4], sizes=sizes).to(device)
        flips = self._flips(draws[..., 4]).to(device)
        views = []
        for look, part, size in (
            (looks[0], slice(0, 1), self.global_size),
            (looks[1], slice(1, None), self.local_size),
        ):
            cut = _cut(images, boxes[part], flips=flips[part], size=size)
            more = None if second is None else second[part]
            views.append(look(cut, first=draws[part, :, 5:], second=more))
        return Views(
            global_view=views[0][0],
            local_views=views[1],
            global_boxes=boxes[0],
            local_boxes=boxes[1:],
            global_flips=flips[0],
            local_flips=flips[1:],
        )

    def _chance(self, name: str, kind: int) -> float:
        chance: Chance = getattr(self, name)
        return chance[kind] if isinstance(chance, tuple | list) else chance

    def _appearance(self, kind: int) -> Appearance:
        return Appearance(
            brightness=self.brightness,
            contrast=self.contrast,
            saturation=self.saturation,
            hue=self.hue,
            jitter=self._chance("jitter", kind),
            grey=self._chance("grey", kind),
            blur=self._chance("blur", kind),
            sigma=self.blur_sigma,
            solarise=self._chance("solarise", kind),
            threshold=self.solarise_threshold,
        )

    def _boxes(self, draws: Tensor, *, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Boxes (1 + v, n, 4) of images of one size, or each of its own."""
        parts = draws.chunk(len(sizes), dim=1) if sizes else ()
        kinds = ((slice(0, 1), self.global_scale), (slice(1, None), self.local_scale))
        boxes = [
            torch.cat([draw_boxes(part[k], size=size, scale=s, ratio=self.ratio) for k, s in kinds])
            for part, size in zip(parts, sizes, strict=True)
        ]
        return torch.cat(boxes, 1) if boxes else draws.float()

    def _flips(self, draws: Tensor) -> Tensor:
        chances = [self._chance("flip", 0)] + [self._chance("flip", 1)] * self.num_local
        return draws < torch.tensor(chances, dtype=draws.dtype, device=draws.device)[:, None]


def _describe(
    images: Tensor | list[Image.Image],
) -> tuple[int, list[tuple[int, int]], torch.device]:
    """How many images, their one size or the (h, w) of each, and where views will be."""
    if isinstance(images, Tensor):
        check_images(images, name="images", channels=3)
        return images.shape[0], [(images.shape[2], images.shape[3])], images.device
    sizes = [(image.height, image.width) for image in images]
    return len(images), sizes, torch.device("cpu")


def _cut(images: Tensor | list[Image.Image], boxes: Tensor, *, flips: Tensor, size: int) -> Tensor:
    if isinstance(images, Tensor):
        return crop(images, boxes, flips=flips, size=size)
    return crop_pictures(images, boxes, flips=flips, size=size)
