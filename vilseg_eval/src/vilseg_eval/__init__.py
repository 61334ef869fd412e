"""The zero-shot segmentation protocol: segmenters, scores and reports."""

from vilseg_eval.abstention import Abstention
from vilseg_eval.background import BackgroundRule
from vilseg_eval.confusion import ConfusionMatrix, LabelError
from vilseg_eval.evaluate import calibrate, evaluate
from vilseg_eval.framing import InferenceConfig
from vilseg_eval.image_counts import ImageCounts
from vilseg_eval.intervals import Bootstrap
from vilseg_eval.journal import Journal
from vilseg_eval.naming import NAME_SETS, name_set
from vilseg_eval.paired import paired_differences
from vilseg_eval.prompts import Prompts
from vilseg_eval.protocols import PROTOCOLS, ClassSets, Protocol
from vilseg_eval.results import EvalResult, Scoring, image_scores, load_result, rescore
from vilseg_eval.retrieval import retrieval
from vilseg_eval.segmenters import (
    DenseSegmentation,
    KMeansSegmenter,
    LabelSegmentation,
    PatchSegmenter,
    PredictionFolder,
    RegionSegmentation,
    ScoredSegmentation,
    Segmentation,
    Segmenter,
    ViLSegSegmenter,
)
from vilseg_eval.session import ImageSession

__version__ = "0.1.0"

__all__ = [
    "NAME_SETS",
    "PROTOCOLS",
    "Abstention",
    "BackgroundRule",
    "Bootstrap",
    "ClassSets",
    "ConfusionMatrix",
    "DenseSegmentation",
    "EvalResult",
    "ImageCounts",
    "ImageSession",
    "InferenceConfig",
    "Journal",
    "KMeansSegmenter",
    "LabelError",
    "LabelSegmentation",
    "PatchSegmenter",
    "PredictionFolder",
    "Prompts",
    "Protocol",
    "RegionSegmentation",
    "ScoredSegmentation",
    "Scoring",
    "Segmentation",
    "Segmenter",
    "ViLSegSegmenter",
    "__version__",
    "calibrate",
    "evaluate",
    "image_scores",
    "load_result",
    "name_set",
    "paired_differences",
    "rescore",
    "retrieval",
]
