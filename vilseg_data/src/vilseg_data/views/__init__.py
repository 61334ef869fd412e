"""Views of an image whose place is known and whose change can be undone."""

from vilseg_data.views.config import ViewsConfig
from vilseg_data.views.invertible import InvertibleAugmentation
from vilseg_data.views.multicrop import MultiCrop
from vilseg_data.views.params import AugmentationParams
from vilseg_data.views.places import Overlap, Place, overlap
from vilseg_data.views.result import Views

__all__ = [
    "AugmentationParams",
    "InvertibleAugmentation",
    "MultiCrop",
    "Overlap",
    "Place",
    "Views",
    "ViewsConfig",
    "overlap",
]
