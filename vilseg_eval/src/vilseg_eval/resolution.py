"""At what size an image is seen and scored.

native    as it is
warp513   image and labels warped to 513 x 513 before anything else, as SPNet and CaGNet score:
          images bilinearly without smoothing, labels by the nearest pixel
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vilseg_data import ClassList, LabelledSample, LabelledSet

NATIVE = "native"
_SIDES = {"warp513": 513}
RESOLUTIONS = (NATIVE, *_SIDES)


class WarpedSet:
    """A labelled set whose images and label maps are squares of `side` pixels."""

    def __init__(self, dataset: LabelledSet, *, side: int) -> None:
        self.dataset, self.side = dataset, side

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def classes(self) -> ClassList:
        return self.dataset.classes

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int, /) -> LabelledSample:
        sample = self.dataset[index]
        image = _resize(sample.image.float(), side=self.side, mode="bilinear")
        labels = _resize(sample.labels[None].float(), side=self.side, mode="nearest-exact")
        return LabelledSample(sample.key, image.round().to(torch.uint8), labels[0].long())

    def keys(self) -> Sequence[str]:
        """The id of every image."""
        return image_keys(self.dataset)


def at_resolution(dataset: LabelledSet, resolution: str) -> LabelledSet:
    """The set as it is seen at a resolution, one of `RESOLUTIONS`."""
    if resolution == NATIVE:
        return dataset
    if resolution not in _SIDES:
        raise ValueError(
            f"resolution: expected one of {', '.join(RESOLUTIONS)}, came {resolution!r}; "
            "what the model sees of an image is a choice of the segmenter"
        )
    return WarpedSet(dataset, side=_SIDES[resolution])


def image_keys(dataset: LabelledSet) -> list[str]:
    """The ids of all images; read from the samples where the set does not list them."""
    listed = getattr(dataset, "keys", None)
    if listed is not None:
        return list(listed())
    return [dataset[i].key for i in range(len(dataset))]


def _resize(planes: Tensor, *, side: int, mode: str) -> Tensor:
    corners = False if mode == "bilinear" else None
    return interpolate(planes[None], size=(side, side), mode=mode, align_corners=corners)[0]
