"""Sources of images with captions; `captions.config` builds any of them, the world included."""

from vilseg_data.captions.archive import ArchiveCaptions
from vilseg_data.captions.sample import Broken, BrokenSampleError, CaptionSample, CaptionSource
from vilseg_data.captions.tables import TableCaptions

__all__ = [
    "ArchiveCaptions",
    "Broken",
    "BrokenSampleError",
    "CaptionSample",
    "CaptionSource",
    "TableCaptions",
]
