"""The one place that chooses between implementations of the same function."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Literal, get_args

import torch

from vilseg_core._numerics import check_choice

Implementation = Literal["auto", "reference", "chunked", "triton"]
Function = Literal["info_nce", "information", "sigmoid"]

IMPLEMENTATIONS: tuple[str, ...] = get_args(Implementation)

CHUNKED_FROM: dict[Function, int] = {"info_nce": 1024, "information": 8192, "sigmoid": 1024}
"""Rows or pixels from which `"auto"` takes the chunked path: from there it is the faster one, and
below it memory is no matter."""

WITH_KERNEL: tuple[Function, ...] = ("info_nce", "information")
"""Functions that have a Triton kernel. `"auto"` does not take them yet: they are held to the
reference in the interpreter and cross-compiled in the tests, but not yet measured on a GPU."""

WITHOUT_FLOAT64 = ("mps",)
"""Devices on which the chunked information, which sums in float64, cannot run."""

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether kernels run in Triton's interpreter, on tensors of the CPU; decided at import."""

HAS_TRITON = all(find_spec(name) for name in ("triton", *(["numpy"] if INTERPRETED else [])))
"""Whether kernels can be run at all; the interpreter needs numpy as well."""


def check_implementation(impl: str) -> None:
    """Refuse a name that no implementation has.

    Raises:
        ValueError: `impl` is not one of `IMPLEMENTATIONS`.
    """
    check_choice("impl", impl, IMPLEMENTATIONS)


def choose_implementation(
    impl: str,
    *,
    function: Function,
    size: int,
    device: torch.device,
    dtype: torch.dtype,
    unserved: Mapping[str, str] | None = None,
) -> str:
    """Turn `impl` as a caller wrote it into the name of an implementation that runs.

    Args:
        impl: what the caller asked for.
        function: what is to run.
        size: rows or pixels of the call.
        device: where its inputs are.
        dtype: what it computes in.
        unserved: implementations that do not have an option of this call, with the reason.

    Raises:
        ValueError: `impl` is no name, or names an implementation that cannot run this call.
    """
    check_implementation(impl)
    unserved = dict(unserved or {})
    if function == "information" and device.type in WITHOUT_FLOAT64:
        unserved["chunked"] = f"it sums in float64, which {device.type!r} does not have"
    missing = _without_kernel(function, device, dtype)
    if missing:
        unserved["triton"] = missing
    if impl in unserved:
        raise ValueError(
            f"impl: {impl!r} does not serve this call, because {unserved[impl]}; leave it at "
            "'auto', which takes an implementation that does."
        )
    if impl != "auto":
        return impl
    return (
        "chunked" if size >= CHUNKED_FROM[function] and "chunked" not in unserved else "reference"
    )


def _without_kernel(function: Function, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the kernel of `function` cannot run, or None."""
    if function not in WITH_KERNEL:
        return "this function has no kernel"
    if not HAS_TRITON:
        return "triton is not installed (pip install triton; its interpreter needs numpy as well)"
    if dtype == torch.float64:
        return "the kernels compute in float32 and an input is float64"
    if device.type != "cuda" and not INTERPRETED:
        return (
            f"its inputs are on {device.type!r} and the kernels run on CUDA (or in Triton's "
            "interpreter, where TRITON_INTERPRET=1 is set before the start)"
        )
    return None
