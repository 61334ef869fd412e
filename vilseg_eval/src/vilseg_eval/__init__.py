"""The zero-shot segmentation protocol: segmenters, scores and reports."""

from vilseg_eval.confusion import ConfusionMatrix, LabelError
from vilseg_eval.evaluate import evaluate
from vilseg_eval.framing import InferenceConfig
from vilseg_eval.prompts import Prompts
from vilseg_eval.protocols import PROTOCOLS, ClassSets, Protocol
from vilseg_eval.results import EvalResult, load_result, rescore
from vilseg_eval.retrieval import retrieval
from vilseg_eval.segmenters import (
    DenseSegmentation,
    KMeansSegmenter,
    LabelSegmentation,
    PatchSegmenter,
    PredictionFolder,
    RegionSegmentation,
    Segmentation,
    Segmenter,
    ViLSegSegmenter,
)
from vilseg_eval.session import ImageSession

__version__ = "0.1.0"

__all__ = [
    "PROTOCOLS",
    "ClassSets",
    "ConfusionMatrix",
    "DenseSegmentation",
    "EvalResult",
    "ImageSession",
    "InferenceConfig",
    "KMeansSegmenter",
    "LabelError",
    "LabelSegmentation",
    "PatchSegmenter",
    "PredictionFolder",
    "Prompts",
    "Protocol",
    "RegionSegmentation",
    "Segmentation",
    "Segmenter",
    "ViLSegSegmenter",
    "__version__",
    "evaluate",
    "load_result",
    "rescore",
    "retrieval",
]
