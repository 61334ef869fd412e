"""A labelled set in memory and segmenters that know their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from vilseg_data import ClassList, LabelledSample
from vilseg_eval import DenseSegmentation, LabelSegmentation
from vilseg_eval.confusion import OUTSIDE


def class_list(
    count: int, *, unseen: Sequence[int] = (), background: int | None = None
) -> ClassList:
    names = tuple(f"class{i}" for i in range(count))
    if background is not None:
        names = (*names[:background], "background", *names[background + 1 :])
    palette = np.arange(3 * count, dtype=np.uint8).reshape(count, 3)
    prompts = tuple(f"word {i}" for i in range(count))
    return ClassList(names, prompts, tuple(unseen), background, palette)


class MemorySet:
    """Label maps (h, w) with black images."""

    name = "memory"

    def __init__(self, classes: ClassList, maps: Sequence[Tensor]) -> None:
        self.classes = classes
        self.maps = list(maps)

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: int, /) -> LabelledSample:
        labels = self.maps[index]
        image = torch.zeros(3, *labels.shape, dtype=torch.uint8)
        return LabelledSample(f"image{index}", image, labels)


def foreground(classes: ClassList) -> list[int]:
    return [i for i in range(len(classes.names)) if i != classes.background]


class ScoreSegmenter:
    """Scores (k, h, w) of every word by image key."""

    name = "scores"
    templates = ("a photo of a {}",)

    def __init__(self, classes: ClassList, scores: Mapping[str, Tensor]) -> None:
        self.words = tuple(classes.prompts[i] for i in foreground(classes))
        self.scores = scores

    def segment(self, images: Sequence[Tensor], keys: Sequence[str], /) -> list[DenseSegmentation]:
        return [
            DenseSegmentation(self.scores[key], (image.shape[1], image.shape[2]))
            for image, key in zip(images, keys, strict=True)
        ]


class MapSegmenter:
    """Label maps in class ids by image key; only the whole word list can be answered."""

    name = "maps"
    templates: tuple[str, ...] = ()

    def __init__(self, classes: ClassList, maps: Mapping[str, Tensor]) -> None:
        chosen = foreground(classes)
        self.words = tuple(classes.prompts[i] for i in chosen)
        self.index = torch.full((256,), OUTSIDE)
        self.index[chosen] = torch.arange(len(chosen))
        self.maps = maps

    def segment(self, images: Sequence[Tensor], keys: Sequence[str], /) -> list[LabelSegmentation]:
        answers = [self.index[self.maps[key]] for key in keys]
        assert [a.shape for a in answers] == [image.shape[1:] for image in images]
        return [LabelSegmentation(answer.clone, len(self.words)) for answer in answers]
