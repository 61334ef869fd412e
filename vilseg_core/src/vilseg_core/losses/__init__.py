"""State over the functions: a temperature, a centre, the options of a loss."""

from vilseg_core.losses.composite import CompositeLoss, Part
from vilseg_core.losses.info_nce import SymmetricInfoNCE
from vilseg_core.losses.local_to_global import LocalToGlobalLoss
from vilseg_core.losses.mutual_information import MutualInformationLoss
from vilseg_core.losses.sigmoid_contrastive import SigmoidContrastiveLoss
from vilseg_core.losses.targets import Centering, Sinkhorn, Targets

__all__ = [
    "Centering",
    "CompositeLoss",
    "LocalToGlobalLoss",
    "MutualInformationLoss",
    "Part",
    "SigmoidContrastiveLoss",
    "Sinkhorn",
    "SymmetricInfoNCE",
    "Targets",
]
