"""What the views accept; every refusal says what to do."""

import math

import torch
from torch import Generator, Tensor

# A probability for all views, or one for global and one for local views.
Chance = float | tuple[float, float]


def check_images(images: Tensor, *, name: str, channels: int | None = None) -> None:
    """Refuse anything but floating point (n, c, h, w) with at least one pixel.

    Raises:
        ValueError: `images` has another shape, an integer dtype or another number of channels.
    """
    if not images.is_floating_point():
        raise ValueError(
            f"{name}: expected floating point values, images in [0, 1], came {images.dtype}; "
            f"convert with {name}.float() / 255"
        )
    check_shape(images, name=name, channels=channels)


def check_shape(maps: Tensor, *, name: str, channels: int | None = None) -> None:
    """Refuse anything but (n, c, h, w) with at least one pixel; any dtype.

    Raises:
        ValueError: `maps` has another shape or another number of channels.
    """
    wanted = "c" if channels is None else str(channels)
    shape = tuple(maps.shape)
    if maps.ndim != 4 or 0 in shape[1:] or (channels is not None and shape[1] != channels):
        raise ValueError(
            f"{name}: expected shape (n, {wanted}, h, w) with h, w >= 1, came {shape}; add a batch "
            f"dimension with {name}[None], one of channels with {name}[:, None], or move channels "
            "first"
        )


def check_number(value: float, *, name: str, low: float, high: float) -> None:
    """Refuse a number outside [low, high], or not finite.

    Raises:
        ValueError: `value` is outside.
    """
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(
            f"{name}: expected a number from {low:g} to {high:g}, came {value}; "
            f"{name}={low:g} does the least"
        )


def check_chance(chance: Chance, *, name: str) -> None:
    """Refuse what is neither a probability nor two of them.

    Raises:
        ValueError: a number outside [0, 1], or not one or two of them.
    """
    if not isinstance(chance, tuple | list):
        check_number(chance, name=name, low=0.0, high=1.0)
        return
    if len(chance) != 2:
        raise ValueError(
            f"{name}: expected one probability, or two as (global, local), came {chance}; one "
            "number serves both kinds of view"
        )
    for kind, number in zip(("global", "local"), chance, strict=True):
        check_number(number, name=f"{name} of {kind} views", low=0.0, high=1.0)


def check_generator(generator: Generator | None, *, device: torch.device | None) -> None:
    """Refuse a generator that is neither on the CPU nor on `device` (None: any device serves).

    Raises:
        ValueError: the generator is elsewhere, or is no generator.
    """
    if generator is None:
        return
    if not isinstance(generator, Generator):
        raise ValueError(
            f"generator: expected a torch.Generator, came {type(generator).__name__}; "
            "make one with torch.Generator().manual_seed(0)"
        )
    if device is not None and generator.device.type not in ("cpu", device.type):
        raise ValueError(
            f"generator: expected one on the CPU or on {device.type}, as the images are, came one "
            f"on {generator.device}; torch.Generator() on the CPU serves images on any device"
        )


def check_range(pair: tuple[float, float], *, name: str, high: float) -> None:
    """Refuse a pair that is not 0 < low <= high.

    Raises:
        ValueError: the pair is out of order, or leaves (0, high].
    """
    if len(pair) != 2 or not (0 < pair[0] <= pair[1] <= high and math.isfinite(pair[1])):
        raise ValueError(
            f"{name}: expected (low, high) with 0 < low <= high <= {high:g}, came {tuple(pair)}; "
            f"repeat one number to fix the value, e.g. (1.0, 1.0)"
        )
