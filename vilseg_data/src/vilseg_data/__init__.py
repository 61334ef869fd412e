"""Views that can be undone, a tokenizer, captions, labelled sets and a built-in world."""

from vilseg_data.batch import CaptionBatch
from vilseg_data.captions import (
    ArchiveCaptions,
    Broken,
    BrokenSampleError,
    CaptionSample,
    CaptionSource,
    EveryCaption,
    MixedCaptions,
    NamedPersons,
    ShardCaptions,
    ShardStream,
    StreamSample,
    TableCaptions,
)
from vilseg_data.captions.config import CaptionsConfig, build_captions, build_loader
from vilseg_data.decode import decode_image
from vilseg_data.labelled import ClassList, LabelledSample, LabelledSet, VocSegmentation
from vilseg_data.labelled.build import build_labelled
from vilseg_data.loader import CaptionLoader
from vilseg_data.stream_loader import StreamLoader
from vilseg_data.tokenizer import Tokenizer
from vilseg_data.tokenizer_config import TokenizerConfig
from vilseg_data.views import (
    AugmentationParams,
    InvertibleAugmentation,
    MultiCrop,
    Overlap,
    Place,
    Views,
    ViewsConfig,
    overlap,
)
from vilseg_data.world import WorldCaptions, WorldLabelled

__all__ = [
    "ArchiveCaptions",
    "AugmentationParams",
    "Broken",
    "BrokenSampleError",
    "CaptionBatch",
    "CaptionLoader",
    "CaptionSample",
    "CaptionSource",
    "CaptionsConfig",
    "ClassList",
    "EveryCaption",
    "InvertibleAugmentation",
    "LabelledSample",
    "LabelledSet",
    "MixedCaptions",
    "MultiCrop",
    "NamedPersons",
    "Overlap",
    "Place",
    "ShardCaptions",
    "ShardStream",
    "StreamLoader",
    "StreamSample",
    "TableCaptions",
    "Tokenizer",
    "TokenizerConfig",
    "Views",
    "ViewsConfig",
    "VocSegmentation",
    "WorldCaptions",
    "WorldLabelled",
    "__version__",
    "build_captions",
    "build_labelled",
    "build_loader",
    "decode_image",
    "overlap",
]

__version__ = "0.1.0"
