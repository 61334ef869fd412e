"""Pixels of several tensors as one list: three dimensions and their strides, nothing copied."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

_LARGEST_UNIT = 16
"""Numbers that divide by this the compiler finds out for itself."""
_WIDE_FROM = 2**31 - 2**16


@dataclass(frozen=True)
class PixelGeometry:
    """What a kernel needs to find the pixels; `strides` are of (outer, middle, inner[, channel]).

    All but `middle`, the innermost stride and the strides of the weights are counted in `unit`s.
    """

    pixels: int
    middle: int
    inner: int
    unit: int
    wide: bool
    """Whether an offset or the number of a pixel does not fit 32 bits."""
    strides: tuple[tuple[int, ...], ...]
    weight_strides: tuple[int, int, int]

    @classmethod
    def of(cls, logits: Sequence[Tensor], weights: Tensor | None) -> "PixelGeometry | None":
        """Geometry of tensors (c, *pixels) and weights (*pixels); None where it takes more than
        three dimensions to tell.
        """
        sizes = logits[0].shape[1:]
        columns = [tensor.stride()[1:] for tensor in logits]
        columns.append((0,) * len(sizes) if weights is None else weights.stride())
        merged = _merge(sizes, columns)
        if merged is None:
            return None
        (outer, middle, inner), strides = merged
        channels = [tensor.stride(0) for tensor in logits]
        unit = _unit(inner, strides[:-1], channels)
        reach = [
            (logits[0].shape[0] + 63) // 64 * 64 * channel
            + sum(size * step for size, step in zip((outer, middle, inner), steps, strict=True))
            for channel, steps in zip(channels, strides[:-1], strict=True)
        ]
        return cls(
            pixels=outer * middle * inner // unit,
            middle=max(1, middle),
            inner=max(1, inner // unit),
            unit=unit,
            wide=max(*reach, outer * middle * inner) >= _WIDE_FROM,
            strides=tuple(
                (steps[0] // unit, steps[1] // unit, steps[2], channel // unit)
                for steps, channel in zip(strides[:-1], channels, strict=True)
            ),
            weight_strides=strides[-1],
        )


def _merge(
    sizes: Sequence[int], columns: Sequence[Sequence[int]]
) -> tuple[tuple[int, int, int], list[tuple[int, int, int]]] | None:
    """Join neighbouring dimensions where every tensor's strides allow; at most three remain."""
    kept: list[tuple[int, list[int]]] = []
    for size, *steps in reversed(list(zip(sizes, *columns, strict=True))):
        if size == 1:
            continue
        if kept and all(
            step == kept[-1][0] * before for step, before in zip(steps, kept[-1][1], strict=True)
        ):
            kept[-1] = (kept[-1][0] * size, kept[-1][1])
        else:
            kept.append((size, steps))
    if len(kept) > 3:
        return None
    one = (1, [0] * len(columns))
    inner, outer, middle = (*kept, one, one, one)[:3]
    if len(kept) == 3:
        outer, middle = middle, outer
    dims = (outer, middle, inner)
    strides = [(outer[1][i], middle[1][i], inner[1][i]) for i in range(len(columns))]
    return (dims[0][0], dims[1][0], dims[2][0]), strides


def _unit(inner: int, strides: Sequence[tuple[int, int, int]], channels: Sequence[int]) -> int:
    """Common divisor of all numbers that vector loads along pixels depend on; a power of two.

    14 x 14 pixels, for instance, divide by 4 alone, which the compiler does not see by itself.
    """
    if any(step[2] != 1 for step in strides):
        return 1
    divisor = math.gcd(inner, *channels, *(number for step in strides for number in step[:2]))
    unit = math.gcd(divisor, _LARGEST_UNIT)
    return 1 if unit == _LARGEST_UNIT else unit
