"""The paper's g: a random change of an image that can be undone on its features (Eq. 5-6).

Notation: n images of h by w pixels; a feature grid of the same images has any size.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from vilseg_data.views import geometry
from vilseg_data.views.checks import check_images, check_number, check_range, check_shape
from vilseg_data.views.colour import scale_and_shift
from vilseg_data.views.draw import spread, uniform
from vilseg_data.views.params import AugmentationParams

# A position is valid when at most this share of its value comes from outside the image: above
# the rounding of float32 coordinates (1e-3 of a pixel at 8,000 pixels), far below a visible error.
_LEAK = 1e-3


@dataclass(frozen=True, kw_only=True)
class InvertibleAugmentation:
    """Random colour, horizontal flip and affine map, drawn as data, applied and undone.

    The colour of an image is `x * (1 + gain * u) + bias * u'` with u, u' uniform in [-1, 1) for
    each image and channel. It is not clamped, since clamping cannot be undone: values may leave
    [0, 1] by `gain + bias`. Geometry is a flip, then a turn, a zoom and a shift about the centre.
    Flips are exact; the rest interpolates bilinearly without a low-pass filter (see
    `views.geometry.sample`), so keep zooms above about one half.

    Args:
        gain: half-width of the multiplicative change, in [0, 1).
        bias: half-width of the additive change.
        flip: probability of mirroring.
        degrees: largest turn in either direction.
        translate: largest shift, as a share of the width and of the height.
        scale: range of the zoom of the content, uniform in the logarithm.

    Raises:
        ValueError: a number is out of its range.
    """

    gain: float = 0.3
    bias: float = 0.1
    flip: float = 0.5
    degrees: float = 0.0
    translate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        check_number(self.gain, name="gain", low=0.0, high=0.99)
        check_number(self.bias, name="bias", low=0.0, high=1.0)
        check_number(self.flip, name="flip", low=0.0, high=1.0)
        check_number(self.degrees, name="degrees", low=0.0, high=180.0)
        check_number(self.translate, name="translate", low=0.0, high=1.0)
        check_range(self.scale, name="scale", high=float("inf"))

    def sample(
        self,
        n: int,
        *,
        generator: Generator | None = None,
        device: torch.device | str | None = None,
        aspect: float = 1.0,
    ) -> AugmentationParams:
        """Draw the parameters of n images: eleven numbers of `generator` each.

        Args:
            n: how many images.
            generator: where the numbers come from; None is torch's global generator.
            device: where the parameters go; None leaves them on the generator's device.
            aspect: width / height of the images, so that turning keeps right angles.
        """
        draws = uniform(n, 11, generator=generator)
        affine = None
        if self.degrees or self.translate or tuple(self.scale) != (1.0, 1.0):
            low, high = torch.tensor(self.scale, dtype=draws.dtype).log().tolist()
            affine = geometry.similarity(
                degrees=spread(draws[:, 7], -self.degrees, self.degrees),
                zoom=spread(draws[:, 8], low, high).exp(),
                shift=spread(draws[:, 9:], -self.translate, self.translate),
                aspect=aspect,
            ).float()
        return AugmentationParams(
            gain=spread(draws[:, :3], 1 - self.gain, 1 + self.gain).float(),
            bias=spread(draws[:, 3:6], -self.bias, self.bias).float(),
            flip=draws[:, 6] < self.flip,
            affine=affine,
        ).to(draws.device if device is None else device)

    def apply(
        self,
        images: Tensor,
        params: AugmentationParams,
        *,
        mode: geometry.Mode = "bilinear",
        colour: bool = True,
        fill: float | None = None,
    ) -> Tensor:
        """Change `images` (n, 3, h, w) as `params` says; a new tensor of the same dtype.

        For label maps (n, 1, h, w) of any dtype pass `mode="nearest", colour=False, fill=255`;
        for feature grids (n, c, h, w) pass `colour=False`.

        Args:
            images: what to change.
            params: from `sample`.
            mode: "bilinear" or "nearest".
            colour: whether colours change too; needs 3 floating point channels.
            fill: value where the content has moved away; None continues it by reflection.

        Raises:
            ValueError: shapes, dtypes or the number of images do not fit.
        """
        if colour:
            check_images(images, name="images", channels=3)
        _check(images, params, name="images", mode=mode)
        if colour:
            images = scale_and_shift(images, gain=params.gain, bias=params.bias)
        params = params.to(images.device)
        flipped = _flip(images, params)
        if params.affine is None:
            return flipped
        return geometry.sample(flipped, params.affine, mode=mode, fill=fill)

    def invert(
        self,
        features: Tensor,
        params: AugmentationParams,
        *,
        mode: geometry.Mode = "bilinear",
        fill: float | None = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Bring `features` (n, c, h, w) of changed images back onto the images as they were.

        Only geometry is undone: features have no colour. With flips alone the result is exact
        and everything is valid (on a feature grid, if its stride divides the width). With an
        affine map, inverting what was applied to x differs from x, where valid, by at most
        (D + D') / 8: D is the largest sum of the absolute second derivatives of x along its
        columns and rows (per pixel squared), D' that of x as applied.

        Returns:
            features: (n, c, h, w), same dtype.
            valid: (n, 1, h, w) bool, true where the value draws on nothing from outside the
                image, neither before nor after the change.

        Raises:
            ValueError: shapes or the number of images do not fit.
        """
        _check(features, params, name="features", mode=mode)
        params = params.to(features.device)
        ones = torch.ones_like(features[:, :1], dtype=torch.float32)
        if params.affine is None:
            return _flip(features, params), ones.bool()
        back = geometry.invert(params.affine)
        restored = geometry.sample(features, back, mode=mode, fill=fill)
        seen = geometry.sample(ones, params.affine, fill=0.0)
        valid = geometry.sample(seen, back, fill=0.0) >= 1 - _LEAK
        return _flip(restored, params), _flip(valid, params)


def _flip(values: Tensor, params: AugmentationParams) -> Tensor:
    return torch.where(params.flip[:, None, None, None], values.flip(-1), values)


def _check(values: Tensor, params: AugmentationParams, *, name: str, mode: str) -> None:
    check_shape(values, name=name)
    if len(params) != values.shape[0]:
        raise ValueError(
            f"params: expected one set for each of the {values.shape[0]} {name}, got "
            f"{len(params)}; sample({values.shape[0]}) or index params like the {name}"
        )
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f'mode: expected "bilinear" or "nearest", got {mode!r}')
    if mode == "bilinear" and not values.is_floating_point():
        raise ValueError(
            f"{name}: {values.dtype} values cannot be interpolated; "
            f'pass mode="nearest" for label maps, or {name}.float()'
        )
