"""The mathematics of the losses, one equation a file; nothing here holds state."""

from vilseg_core.functional.info_nce import ContrastStatistics, symmetric_info_nce
from vilseg_core.functional.information_statistics import (
    InformationStatistics,
    information_statistics,
)
from vilseg_core.functional.local_to_global import local_to_global_cross_entropy
from vilseg_core.functional.mutual_information import (
    joint_matrix,
    mutual_information,
    mutual_information_loss,
)
from vilseg_core.functional.sigmoid_contrastive import sigmoid_contrastive_loss
from vilseg_core.functional.sinkhorn import sinkhorn_log_assignment

__all__ = [
    "ContrastStatistics",
    "InformationStatistics",
    "information_statistics",
    "joint_matrix",
    "local_to_global_cross_entropy",
    "mutual_information",
    "mutual_information_loss",
    "sigmoid_contrastive_loss",
    "sinkhorn_log_assignment",
    "symmetric_info_nce",
]
