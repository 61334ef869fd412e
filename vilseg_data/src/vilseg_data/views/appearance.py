"""How views look: what self-supervised learning does to the colours of a view.

Notation: v views of each of n images, (v, n, 3, s, s), in [0, 1].
"""

from dataclasses import dataclass

import torch
from torch import Tensor

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
            brightness, contrast, saturation = _move(torch.stack(factors), images)
        else:
            second = second.flatten(0, 1)
            turn = spread(second[:, 1], -self.hue, self.hue)
            sigma = spread(second[:, 4], *self.sigma)
            chances = torch.tensor([self.jitter, self.grey, self.blur, self.solarise])
            coins = second[:, [0, 2, 3, 5]].mT < chances.to(second)[:, None]
            numbers = torch.stack([*factors, turn, sigma])
            # A factor of 1 changes nothing.
            numbers[:3] = torch.where(coins[0], numbers[:3], 1)
            brightness, contrast, saturation, turn, sigma = _move(numbers, images)
            coins = coins.to(images.device)
        if any(self._widths):
            images = jitter(images, brightness=brightness, contrast=contrast, saturation=saturation)
        if second is not None:
            images = self._second(images, turn=turn, sigma=sigma, coins=coins)
        return images.view_as(views)

    def _second(self, images: Tensor, *, turn: Tensor, sigma: Tensor, coins: Tensor) -> Tensor:
        """What follows brightness, contrast and saturation; coins (4, n)."""
        shaken, greyed, blurred, inverted = coins[..., None, None, None]
        if self.hue:
            images = torch.where(shaken, turn_hue(images, turn=turn), images)
        if self.grey:
            images = torch.where(greyed, grey(images), images)
        if self.blur:
            images = torch.where(blurred, blur(images, sigma=sigma), images)
        if self.solarise:
            images = torch.where(inverted, solarise(images, threshold=self.threshold), images)
        return images


def _move(numbers: Tensor, images: Tensor) -> Tensor:
    """To the images' device, in float32 at least: not every device has float64."""
    return numbers.to(torch.float64 if images.dtype == torch.float64 else torch.float32).to(
        images.device
    )
