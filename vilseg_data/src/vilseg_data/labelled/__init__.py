"""Sets of images with dense labels; `labelled.build` makes any of them, the world included."""

from vilseg_data.labelled.classes import IGNORE, ClassList, LabelledSample, LabelledSet
from vilseg_data.labelled.coco import CocoStuff, coco_classes
from vilseg_data.labelled.context import PascalContext, context_classes
from vilseg_data.labelled.files import LabelledFiles
from vilseg_data.labelled.folder import FolderSet
from vilseg_data.labelled.voc import VOC_CLASSES, VocSegmentation
from vilseg_data.labelled.zero_shot import ZERO_SHOT, ZeroShotSplit, with_unseen

__all__ = [
    "IGNORE",
    "VOC_CLASSES",
    "ZERO_SHOT",
    "ClassList",
    "CocoStuff",
    "FolderSet",
    "LabelledFiles",
    "LabelledSample",
    "LabelledSet",
    "PascalContext",
    "VocSegmentation",
    "ZeroShotSplit",
    "coco_classes",
    "context_classes",
    "with_unseen",
]
