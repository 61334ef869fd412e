"""Views of an image whose place is known and whose change can be undone."""

from vilseg_data.views.config import ViewsConfig
from vilseg_data.views.invertible import InvertibleAugmentation
from vilseg_data.views.multicrop import MultiCrop, Views
from vilseg_data.views.params import AugmentationParams

__all__ = ["AugmentationParams", "InvertibleAugmentation", "MultiCrop", "Views", "ViewsConfig"]
