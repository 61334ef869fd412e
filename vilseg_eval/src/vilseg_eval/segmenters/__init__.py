"""Everything that turns an image and a word list into a label map."""

from vilseg_eval.segmenters.base import (
    DenseSegmentation,
    LabelSegmentation,
    RegionSegmentation,
    ScoredSegmentation,
    Segmentation,
    Segmenter,
)
from vilseg_eval.segmenters.kmeans import KMeansSegmenter
from vilseg_eval.segmenters.patch import PatchSegmenter
from vilseg_eval.segmenters.predictions import PredictionFolder
from vilseg_eval.segmenters.regions import ViLSegSegmenter

__all__ = [
    "DenseSegmentation",
    "KMeansSegmenter",
    "LabelSegmentation",
    "PatchSegmenter",
    "PredictionFolder",
    "RegionSegmentation",
    "ScoredSegmentation",
    "Segmentation",
    "Segmenter",
    "ViLSegSegmenter",
]
