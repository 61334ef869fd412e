"""What the device can do, measured in the same run: copying, and multiplying in each dtype."""

from collections.abc import Sequence
from functools import partial

import torch

from benchmarks.common import Budget, measure_times
from benchmarks.schema import Device, Limits, Timing


def measure_limits(
    device: Device, dtypes: Sequence[torch.dtype], *, budget: Budget, quick: bool
) -> Limits:
    """Copy bandwidth (bytes read plus written) and the rate of a square matrix product.

    Both count the 20th percentile of the time: what slows a call now and then is no limit.
    A quick run measures tiny ones, whose numbers mean nothing.
    """
    count, side = _sizes(device, quick=quick)
    source = torch.ones(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    [copied] = measure_times([partial(target.copy_, source)], device=device, budget=budget)
    rates = {}
    for dtype in dtypes:
        product = _time_product(side, dtype=dtype, device=device, budget=budget)
        rates[dtype_name(dtype)] = 2 * side**3 / product.p20_s
    return Limits(copy_bytes_per_s=2 * count / copied.p20_s, matrix_flop_per_s=rates)


def roofline_fraction(
    limits: Limits, *, least_bytes: int, least_flop: int, dtype: torch.dtype, median_s: float
) -> float:
    """The least time that the limits allow for this work, over the time it took."""
    copying = least_bytes / limits.copy_bytes_per_s
    multiplying = least_flop / limits.matrix_flop_per_s[dtype_name(dtype)]
    return max(copying, multiplying) / median_s


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _sizes(device: Device, *, quick: bool) -> tuple[int, int]:
    if quick:
        return 2**16, 32
    return (2**30, 8192) if device == "cuda" else (2**28, 1024)


def _time_product(side: int, *, dtype: torch.dtype, device: Device, budget: Budget) -> Timing:
    left, right = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
    [found] = measure_times([partial(torch.mm, left, right)], device=device, budget=budget)
    return found
