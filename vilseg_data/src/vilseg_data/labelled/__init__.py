"""Sets of images with dense labels; `labelled.build` makes any of them, the world included."""

from vilseg_data.labelled.classes import IGNORE, ClassList, LabelledSample, LabelledSet
from vilseg_data.labelled.voc import VOC_CLASSES, VocSegmentation

__all__ = [
    "IGNORE",
    "VOC_CLASSES",
    "ClassList",
    "LabelledSample",
    "LabelledSet",
    "VocSegmentation",
]
