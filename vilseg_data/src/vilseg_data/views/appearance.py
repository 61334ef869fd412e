"""How views look: what self-supervised learning does to the colours of a view.

Notation: v views of each of n images, (v, n, 3, s, s), in [0, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from vilseg_data.views.blocks import in_blocks
from vilseg_data.views.colour import grey, jitter, solarise, turn_hue
from vilseg_data.views.draw import spread
from vilseg_data.views.filters import blur


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """Colour jitter, grey, blur, solarise, in this order, each image by its own numbers.

    Args:
        brightness, contrast, saturation: half-widths of factors around 1, see `colour.jitter`.
        hue: largest turn of the hue in either direction, as a share of the colour circle.
        jitter: probability of these four, which are applied in this order.
        grey: probability of losing all colour.
        blur: probability of a Gaussian blur, see `filters.blur`.
        sigma: range of its standard deviation in pixels of the view, uniform.
        solarise: probability of inverting what is bright.
        threshold: from where on a value is bright.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    jitter: float
    grey: float
    blur: float
    sigma: tuple[float, float]
    solarise: float
    threshold: float

    # The numbers a view needs once anything but brightness, contrast and saturation is on.
    SECOND = 6

    @property
    def has_second(self) -> bool:
        """Whether the six numbers are used at all."""
        return bool(self.hue or self.jitter < 1 or self.grey or self.blur or self.solarise)

    @property
    def _widths(self) -> tuple[float, float, float]:
        return self.brightness, self.contrast, self.saturation

    def __call__(self, views: Tensor, *, first: Tensor, second: Tensor | None) -> Tensor:
        """Change views (v, n, 3, s, s); uniform numbers `first` (v, n, 3), `second` (v, n, 6)."""
        if not (any(self._widths) or self.has_second):
            return views
        images, first = views.flatten(0, 1), first.flatten(0, 1)
        factors = [spread(first[:, i], 1 - b, 1 + b) for i, b in enumerate(self._widths)]
        if second is None:
            numbers = _move(torch.stack(factors, 1), images)
            return in_blocks(self._jitter, images, numbers).view_as(views)
        second = second.flatten(0, 1)
        turn = spread(second[:, 1], -self.hue, self.hue)
        sigma = spread(second[:, 4], *self.sigma)
        chances = torch.tensor([self.jitter, self.grey, self.blur, self.solarise])
        coins = second[:, [0, 2, 3, 5]] < chances.to(second)
        numbers = torch.stack([*factors, turn, sigma], 1)
        # A factor of 1 changes nothing.
        numbers[:, :3] = torch.where(coins[:, :1], numbers[:, :3], 1)
        numbers, coins = _move(numbers, images), coins.to(images.device)
        return in_blocks(self._all, images, numbers, coins).view_as(views)

    def _jitter(self, images: Tensor, factors: Tensor) -> Tensor:
        if not any(self._widths):
            return images
        brightness, contrast, saturation = factors.unbind(1)
        return jitter(images, brightness=brightness, contrast=contrast, saturation=saturation)

    def _all(self, images: Tensor, numbers: Tensor, coins: Tensor) -> Tensor:
        """Images (n, 3, s, s) by numbers (n, 5) and by coins (n, 4)."""
        turn, sigma = numbers[:, 3], numbers[:, 4]
        shaken, greyed, blurred, inverted = coins.unbind(1)
        images = self._jitter(images, numbers[:, :3])
        if self.hue:
            images = _where(shaken, images, lambda some, turn: turn_hue(some, turn=turn), turn)
        if self.grey:
            images = _where(greyed, images, lambda some: grey(some).repeat(1, 3, 1, 1))
        if self.blur:
            images = _where(blurred, images, lambda some, sigma: blur(some, sigma=sigma), sigma)
        if self.solarise:
            images = _where(inverted, images, partial(solarise, threshold=self.threshold))
        return images


def _where(
    chosen: Tensor, images: Tensor, change: Callable[..., Tensor], *numbers: Tensor
) -> Tensor:
    """`change(images, *numbers)` of the images chosen (n,); on a CPU the others cost nothing."""
    if images.device.type != "cpu":
        return torch.where(chosen[:, None, None, None], change(images, *numbers), images)
    index = chosen.nonzero()[:, 0]
    if len(index) == len(images):
        return change(images, *numbers)
    if not len(index):
        return images
    return images.index_copy(0, index, change(images[index], *(x[index] for x in numbers)))


def _move(numbers: Tensor, images: Tensor) -> Tensor:
    """To the images' device, in float32 at least: not every device has float64."""
    return numbers.to(torch.float64 if images.dtype == torch.float64 else torch.float32).to(
        images.device
    )
