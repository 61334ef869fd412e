"""A few images of a labelled set with their ground truth and what each segmenter says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vilseg_data import LabelledSet
from vilseg_eval.protocols import ClassSets
from vilseg_eval.segmenters.base import Segmenter


@dataclass(frozen=True)
class Example:
    """`image` uint8 (3, h, w); `maps` (h, w) word indices by title, negative where untinted."""

    key: str
    image: Tensor
    maps: Mapping[str, Tensor]


TRUTH = "ground truth"


def collect_examples(
    segmenters: Mapping[str, Segmenter], dataset: LabelledSet, *, count: int = 8
) -> list[Example]:
    """`count` images spread evenly over the set, through every segmenter.

    Args:
        segmenters: by the title of their pictures; their words are those of the foreground classes.
    """
    if count < 1:
        raise ValueError(f"count: expected at least 1, got {count}")
    total = len(dataset)
    positions = sorted({i * total // count for i in range(count)}) if total else []
    samples = [dataset[i] for i in positions]
    if not samples:
        raise ValueError(f"dataset: {dataset.name} holds no images; check its folder and split")
    sets = ClassSets.of(dataset.classes)
    index = torch.full((256,), -1)
    index[list(sets.foreground)] = torch.arange(len(sets.foreground))
    maps = [{TRUTH: index[sample.labels]} for sample in samples]
    images, keys = [s.image for s in samples], [s.key for s in samples]
    for title, segmenter in segmenters.items():
        words = len(segmenter.words)
        for drawn, answer in zip(maps, segmenter.segment(images, keys), strict=True):
            labels = answer.labels(range(words))
            if labels is None:
                raise ValueError(f"segmenters: {title!r} gives no labels for its own words")
            drawn[title] = torch.where(labels < words, labels, -1).cpu()
    return [
        Example(sample.key, sample.image, drawn)
        for sample, drawn in zip(samples, maps, strict=True)
    ]
