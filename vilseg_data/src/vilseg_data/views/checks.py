"""What the views accept; every refusal says what to do."""

import math

from torch import Tensor


def check_images(images: Tensor, *, name: str, channels: int | None = None) -> None:
    """Refuse anything but floating point (n, c, h, w) with at least one pixel.

    Raises:
        ValueError: `images` has another shape, an integer dtype or another number of channels.
    """
    if not images.is_floating_point():
        raise ValueError(
            f"{name}: expected floating point values, images in [0, 1], got {images.dtype}; "
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
            f"{name}: expected shape (n, {wanted}, h, w) with h, w >= 1, got {shape}; "
            f"add a batch dimension with {name}[None] or move channels first"
        )


def check_number(value: float, *, name: str, low: float, high: float) -> None:
    """Refuse a number outside [low, high], or not finite.

    Raises:
        ValueError: `value` is outside.
    """
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(
            f"{name}: expected a number from {low:g} to {high:g}, got {value}; "
            f"{name}={low:g} does the least"
        )


def check_range(pair: tuple[float, float], *, name: str, high: float) -> None:
    """Refuse a pair that is not 0 < low <= high.

    Raises:
        ValueError: the pair is out of order, or leaves (0, high].
    """
    if len(pair) != 2 or not (0 < pair[0] <= pair[1] <= high and math.isfinite(pair[1])):
        raise ValueError(
            f"{name}: expected (low, high) with 0 < low <= high <= {high:g}, got {tuple(pair)}; "
            f"repeat one number to fix the value, e.g. (1.0, 1.0)"
        )
