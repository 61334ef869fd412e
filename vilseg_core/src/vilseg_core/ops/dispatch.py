"""The one place that chooses between implementations of the same function."""

from typing import Literal

import torch

Implementation = Literal["auto", "reference", "chunked", "triton"]
Function = Literal["info_nce", "information"]

IMPLEMENTATIONS: dict[Function, tuple[str, ...]] = {
    "info_nce": ("reference", "chunked"),
    "information": ("reference", "chunked"),
}
"""What this version can run of each function."""

CHUNKED_FROM: dict[Function, int] = {"info_nce": 1024, "information": 8192}
"""Rows or pixels from which `"auto"` takes the chunked path: from there it is the faster one, and
below it memory is no matter."""

WITHOUT_FLOAT64 = ("mps",)
"""Devices on which the chunked information, which sums in float64, cannot run."""


def check_implementation(impl: str, *, function: Function) -> None:
    """Refuse an implementation that this version does not have.

    Raises:
        ValueError: `impl` is not `"auto"` and not among the function's `IMPLEMENTATIONS`.
    """
    choices = ("auto", *IMPLEMENTATIONS[function])
    if impl not in choices:
        available = ", ".join(repr(name) for name in choices)
        raise ValueError(
            f"impl: expected one of {available}, which this version has; came {impl!r}. "
            "Leave it out to take the best available."
        )


def choose_implementation(impl: str, *, function: Function, size: int, device: torch.device) -> str:
    """Turn `impl` as a caller wrote it into the name of an implementation that runs.

    Args:
        impl: what the caller asked for.
        function: what is to run.
        size: rows or pixels of the call.
        device: where its inputs are.

    Raises:
        ValueError: as `check_implementation`.
    """
    check_implementation(impl, function=function)
    if impl != "auto":
        return impl
    if function == "information" and device.type in WITHOUT_FLOAT64:
        return "reference"
    return "chunked" if size >= CHUNKED_FROM[function] else "reference"
