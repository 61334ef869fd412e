"""Sets of images with dense labels."""

from vilseg_data.labelled.classes import IGNORE, ClassList, LabelledSample, LabelledSet

__all__ = ["IGNORE", "ClassList", "LabelledSample", "LabelledSet"]
