"""Which implementation of a function runs."""

from vilseg_core.ops.dispatch import IMPLEMENTATIONS, Implementation, choose_implementation

__all__ = ["IMPLEMENTATIONS", "Implementation", "choose_implementation"]
