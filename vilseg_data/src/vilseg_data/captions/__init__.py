"""Sources of images with captions."""

from vilseg_data.captions.sample import Broken, BrokenSampleError, CaptionSample, CaptionSource

__all__ = ["Broken", "BrokenSampleError", "CaptionSample", "CaptionSource"]
