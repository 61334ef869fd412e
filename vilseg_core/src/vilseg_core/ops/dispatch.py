"""The one place that chooses between implementations of the same function."""

from typing import Literal

Implementation = Literal["auto", "reference", "chunked", "triton"]

IMPLEMENTATIONS: tuple[str, ...] = ("reference",)
"""What this version can run, best last; `"auto"` takes the last."""


def choose_implementation(impl: str) -> str:
    """Turn `impl` as a caller wrote it into the name of an implementation that runs.

    Raises:
        ValueError: `impl` is not `"auto"` and not among `IMPLEMENTATIONS`.
    """
    if impl == "auto":
        return IMPLEMENTATIONS[-1]
    if impl not in IMPLEMENTATIONS:
        available = ", ".join(repr(name) for name in ("auto", *IMPLEMENTATIONS))
        raise ValueError(
            f"impl: expected one of {available}, which this version has; came {impl!r}. "
            "Leave it out to take the best available."
        )
    return impl
