"""The paper's g: a random change of an image that can be undone on its features (Eq. 5-6).

Notation: n images of h by w pixels; a feature grid of the same images has any size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from vilseg_data.views import geometry, symmetry
from vilseg_data.views.blocks import in_blocks
from vilseg_data.views.checks import (
    check_generator,
    check_images,
    check_number,
    check_range,
    check_shape,
)
from vilseg_data.views.colour import scale_and_shift
from vilseg_data.views.draw import spread, uniform
from vilseg_data.views.params import AugmentationParams


@dataclass(frozen=True, kw_only=True)
class InvertibleAugmentation:
    """Random colour, flip, quarter turns and affine map, drawn as data, applied and undone.

    The colour of an image is `x * (1 + gain * u) + bias * u'` with u, u' uniform in [-1, 1) for
    each image and channel. It is not clamped, since clamping cannot be undone: values may leave
    [0, 1] by `gain + bias`. Geometry is a flip, then quarter turns, then a turn by any angle, a
    zoom and a shift about the centre. Flips and quarter turns permute pixels and are exact; the
    rest interpolates bilinearly. Anti-aliasing is off unless `apply(..., antialias=True)`: without
    it, zooms below about one half alias, and `invert` never filters, so that features magnified by
    zooms above about two are picked, not averaged.

    Several augmentations are composed as parameters: `a.sample(n).compose(b.sample(n))`.

    Args:
        gain: half-width of the multiplicative change, in [0, 1).
        bias: half-width of the additive change.
        flip: probability of mirroring.
        quarter_turn: probability of turning by one, two or three quarters, each as likely; on
            square images.
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
    quarter_turn: float = 0.0

    def __post_init__(self) -> None:
        check_number(self.gain, name="gain", low=0.0, high=0.99)
        check_number(self.bias, name="bias", low=0.0, high=1.0)
        check_number(self.flip, name="flip", low=0.0, high=1.0)
        check_number(self.quarter_turn, name="quarter_turn", low=0.0, high=1.0)
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

        With `quarter_turn` one number more each, drawn after all the others.

        Args:
            n: how many images.
            generator: where the numbers come from; None is torch's global generator.
            device: where the parameters go; None leaves them on the generator's device.
            aspect: width / height of the images, so that turning keeps right angles.

        Raises:
            ValueError: n below 0, or `generator` on another device than the CPU and `device`.
        """
        if n < 0:
            raise ValueError(f"n: expected at least 0, came {n}; pass len(images)")
        check_generator(generator, device=None if device is None else torch.device(device))
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
        turns = None
        if self.quarter_turn:
            level = uniform(n, generator=generator) / self.quarter_turn
            turns = torch.where(level < 1, 1 + (level * 3).long(), 0)
        return AugmentationParams(
            gain=spread(draws[:, :3], 1 - self.gain, 1 + self.gain).float(),
            bias=spread(draws[:, 3:6], -self.bias, self.bias).float(),
            flip=draws[:, 6] < self.flip,
            affine=affine,
            turns=turns,
        ).to(draws.device if device is None else device)

    def apply(
        self,
        images: Tensor,
        params: AugmentationParams,
        *,
        mode: geometry.Mode = "bilinear",
        colour: bool = True,
        fill: float | None = None,
        antialias: bool = False,
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
            antialias: whether to blur, before an affine map, what the map shrinks (see
                `views.geometry.smooth`). What is blurred does not come back: a wave of k radians
                a pixel keeps about exp(-(sigma k)^2 / 2) of its height.

        Raises:
            ValueError: shapes, dtypes or the number of images do not fit.
        """
        if colour:
            check_images(images, name="images", channels=3)
        _check(images, params, name="images", mode=mode)
        if antialias and mode == "nearest":
            raise ValueError(
                'antialias: expected mode="bilinear", came mode="nearest"; labels cannot blur: '
                "leave antialias out"
            )
        params = params.to(images.device)
        if params.affine is None:
            return _recolour_and_act(images, params) if colour else _act(images, params)

        def change(images: Tensor, gain: Tensor, bias: Tensor, maps: Tensor) -> Tensor:
            if colour:
                images = scale_and_shift(images, gain=gain, bias=bias)
            if antialias:
                images = geometry.smooth(images, maps)
            return geometry.sample(images, maps, mode=mode, fill=fill)

        maps = _one_map(params, params.affine, size=images.shape[-2:])
        return in_blocks(change, images, params.gain, params.bias, maps)

    def invert(
        self,
        features: Tensor,
        params: AugmentationParams,
        *,
        mode: geometry.Mode = "bilinear",
        fill: float | None = 0.0,
        image_size: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Bring `features` (n, c, h, w) of changed images back onto the images as they were.

        Only geometry is undone: features have no colour, and `apply(images, params.inverse())`
        undoes both. With flips and quarter turns alone the result is exact and everything is valid
        (on a feature grid, if its stride divides the image). With an affine map, inverting what
        was applied to x differs from x, where valid, by at most (D + D') / 8: D is the largest sum
        of the absolute second derivatives of x along its columns and rows (per pixel squared), D'
        that of x as applied.

        Args:
            features: what to bring back: features of any stride, images, or label maps of any
                dtype with `mode="nearest", fill=255`.
            params: what was applied.
            mode: "bilinear" or "nearest".
            fill: value outside; None continues the content by reflection.
            image_size: (h, w) of the changed images, or their shape, to be sure that the grid
                divides them; None trusts the caller.

        Returns:
            features: (n, c, h, w), same dtype.
            valid: (n, 1, h, w) bool, true where the value draws on nothing from outside the
                image, neither before nor after the change.

        Raises:
            ValueError: shapes or the number of images do not fit, or the grid does not divide
                `image_size`.
        """
        _check(features, params, name="features", mode=mode)
        if image_size is not None:
            _check_stride(features, image_size)
        params = params.to(features.device)
        if params.affine is None:
            valid = torch.ones_like(features[:, :1], dtype=torch.bool)
            return symmetry.undo(features, flip=params.flip, turns=params.turns), valid
        maps = _one_map(params, params.affine, size=features.shape[-2:])
        return geometry.restore(features, maps, mode=mode, fill=fill)


def _one_map(params: AugmentationParams, affine: Tensor, *, size: Sequence[int]) -> Tensor:
    """Flip, turns and affine map as one map."""
    symmetry.check_square(params.turns, size=size)
    square = symmetry.as_maps(affine, flip=params.flip, turns=params.turns)
    return geometry.compose(square, affine)


def _act(images: Tensor, params: AugmentationParams) -> Tensor:
    return symmetry.act(images, flip=params.flip, turns=params.turns)


def _recolour_and_act(images: Tensor, params: AugmentationParams) -> Tensor:
    exact = images.dtype in (torch.float32, torch.float64)
    taught = images.requires_grad and torch.is_grad_enabled()
    if images.device.type != "cpu" or not exact or taught or not len(images):
        return _act(scale_and_shift(images, gain=params.gain, bias=params.bias), params)
    # Moved and recoloured image by image, while it is in the cache, into its place in the result.
    moved = symmetry.each_moved(torch.split(images, 1), flip=params.flip, turns=params.turns)
    numbers = (x.to(images.dtype)[..., None, None] for x in (params.gain, params.bias))
    whole = torch.empty_like(images, memory_format=torch.contiguous_format)
    parts = (torch.split(x, 1) for x in (whole, *numbers))
    for image, place, gain, bias in zip(moved, *parts, strict=True):
        torch.mul(image, gain, out=place).add_(bias)
    return whole


def _check_stride(features: Tensor, image_size: Sequence[int]) -> None:
    (rows, columns), (h, w) = features.shape[-2:], image_size[-2:]
    if h % rows or w % columns:
        raise ValueError(
            f"features: expected a grid that divides images of {h} x {w}, "
            f"came {rows} x {columns}; its stride is no whole number of pixels, so flips and "
            "turns would shift it: crop or resize the images to a multiple of the stride"
        )


def _check(values: Tensor, params: AugmentationParams, *, name: str, mode: str) -> None:
    check_shape(values, name=name)
    if len(params) != values.shape[0]:
        raise ValueError(
            f"params: expected one set for each of the {values.shape[0]} {name}, came "
            f"{len(params)}; sample({values.shape[0]}) or index params like the {name}"
        )
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f'mode: expected "bilinear" or "nearest", came {mode!r}; choose one')
    if mode == "bilinear" and not values.is_floating_point():
        raise ValueError(
            f"{name}: expected floating point values to interpolate, came {values.dtype}; "
            f'pass mode="nearest" for label maps, or {name}.float()'
        )
