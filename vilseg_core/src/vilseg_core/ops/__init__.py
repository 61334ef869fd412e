"""Which implementation of a function runs, and the implementations that are not plain autograd."""

from vilseg_core.ops.chunked_contrast import contrast
from vilseg_core.ops.chunked_moments import moments
from vilseg_core.ops.dispatch import (
    IMPLEMENTATIONS,
    Implementation,
    check_implementation,
    choose_implementation,
)

__all__ = [
    "IMPLEMENTATIONS",
    "Implementation",
    "check_implementation",
    "choose_implementation",
    "contrast",
    "moments",
]
