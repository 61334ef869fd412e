"""Sources of images with captions; `captions.config` builds any of them, the world included."""

from vilseg_data.captions.archive import ArchiveCaptions
from vilseg_data.captions.mix import EveryCaption, MixedCaptions, NamedPersons
from vilseg_data.captions.sample import Broken, BrokenSampleError, CaptionSample, CaptionSource
from vilseg_data.captions.shards import ShardCaptions
from vilseg_data.captions.stream import ShardStream, StreamSample
from vilseg_data.captions.tables import TableCaptions

__all__ = [
    "ArchiveCaptions",
    "Broken",
    "BrokenSampleError",
    "CaptionSample",
    "CaptionSource",
    "EveryCaption",
    "MixedCaptions",
    "NamedPersons",
    "ShardCaptions",
    "ShardStream",
    "StreamSample",
    "TableCaptions",
]
