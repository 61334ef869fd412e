"""Which implementation of a function runs, and the implementations that are not plain autograd."""

from vilseg_core.ops.chunked_contrast import PairStatistics, pair_statistics
from vilseg_core.ops.chunked_labels import (
    EXTRA,
    IGNORED,
    Labelled,
    label_masks,
    labelled_statistics,
)
from vilseg_core.ops.chunked_moments import moments
from vilseg_core.ops.chunked_sigmoid import sigmoid_loss_sum
from vilseg_core.ops.dispatch import (
    IMPLEMENTATIONS,
    Implementation,
    check_implementation,
    choose_implementation,
)

__all__ = [
    "EXTRA",
    "IGNORED",
    "IMPLEMENTATIONS",
    "Implementation",
    "Labelled",
    "PairStatistics",
    "check_implementation",
    "choose_implementation",
    "label_masks",
    "labelled_statistics",
    "moments",
    "pair_statistics",
    "sigmoid_loss_sum",
]
