"""What loaders give, and what the loaders of several ranks tell one another."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

# This rank's items in, those of all ranks out, the same list on each; called by all in step.
Share = Callable[[list[Any]], list[Any]]


class CaptionBatch(NamedTuple):
    """images: uint8 (b, 3, s, s); tokens: int64 (b, length); keys: the samples' names.

    They are the rows from `first` on of a batch of `total`, which all ranks make together.
    """

    images: Tensor
    tokens: Tensor
    keys: tuple[str, ...]
    epoch: int
    first: int
    total: int
