"""A few images of a labelled set with their ground truth and what each segmenter says.

Legend: (h, w) one image, its longer side at most `LARGEST_SIDE`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vilseg_data import LabelledSet
from vilseg_eval.protocols import ClassSets
from vilseg_eval.segmenters.base import Segmenter

TRUTH = "ground truth"
LARGEST_SIDE = 480


@dataclass(frozen=True)
class Example:
    """`image` uint8 (3, h, w); `maps` (h, w) word indices by title, negative where untinted.

    place: why it is shown ("best", "median", "worst"), if there is a reason.
    scores: its own score by title, a fraction, where it is known.
    """

    key: str
    image: Tensor
    maps: Mapping[str, Tensor]
    place: str = ""
    scores: Mapping[str, float | None] = field(default_factory=dict)


def collect_examples(
    segmenters: Mapping[str, Segmenter],
    dataset: LabelledSet,
    *,
    count: int = 8,
    positions: Sequence[int] | None = None,
) -> list[Example]:
    """Images through every segmenter: `count` spread evenly over the set, or those at `positions`.

    Args:
        segmenters: by the title of their pictures; their words are those of the foreground classes.
        count: how many, if `positions` is None.
        positions: of the images in the set, in the order in which they are wanted.
    """
    if count < 1:
        raise ValueError(f"count: expected at least 1, came {count}; leave it out for 8")
    if len(dataset) == 0:
        raise ValueError(f"dataset: {dataset.name} holds no images; check its folder and split")
    if positions is None:
        positions = sorted({i * len(dataset) // count for i in range(count)})
    samples = [dataset[i] for i in positions]
    sets = ClassSets.of(dataset.classes)
    index = torch.full((256,), -1)
    index[list(sets.foreground)] = torch.arange(len(sets.foreground))
    maps = [{TRUTH: index[sample.labels]} for sample in samples]
    for title, segmenter in segmenters.items():
        words = len(segmenter.words)
        for drawn, sample in zip(maps, samples, strict=True):
            [answer] = segmenter.segment([sample.image], [sample.key])
            labels = answer.labels(range(words))
            if labels is None:
                raise ValueError(f"segmenters: {title!r} gives no labels for its own words")
            inside = labels < len(sets.foreground)
            drawn[title] = torch.where(inside, labels, -1).cpu()
    return [
        Example(sample.key, reduced(sample.image), {t: reduced_map(m) for t, m in drawn.items()})
        for sample, drawn in zip(samples, maps, strict=True)
    ]


def placed(
    examples: Sequence[Example],
    *,
    places: Mapping[str, Sequence[str]],
    scores: Mapping[str, Mapping[str, float | None]],
) -> list[Example]:
    """The examples in the order of `places` (keys by "best", "median", ...), each once, with their
    scores (by title, then key); what `places` does not name comes last."""
    known = {example.key: example for example in examples}
    chosen: dict[str, Example] = {}
    for place, keys in places.items():
        for key in keys:
            if key in known and key not in chosen:
                chosen[key] = replace(known[key], place=place)
    every = {**chosen, **{key: e for key, e in known.items() if key not in chosen}}
    return [
        replace(e, scores={title: s[key] for title, s in scores.items() if key in s})
        for key, e in every.items()
    ]


def chosen(
    places: Mapping[str, Sequence[str]], *, keys: Sequence[str], each: int = 3, spread: int = 4
) -> tuple[dict[str, list[str]], list[int]]:
    """Which images to show: of each place the first `each`, of the median those in the middle, and
    `spread` evenly over the set, which every evaluation of the set shares.

    Args:
        places: ids by "best", "median" and "worst", as in `results.json`.
        keys: the ids of the set, in its order.

    Returns:
        The ids by place, and the positions of all of them in the set.
    """
    starts = {place: (len(ids) - each) // 2 for place, ids in places.items() if place == "median"}
    shown = {
        place: list(ids[(start := max(0, starts.get(place, 0))) : start + each])
        for place, ids in places.items()
    }
    position = {key: number for number, key in enumerate(keys)}
    wanted = [position[key] for ids in shown.values() for key in ids]
    even = [number * len(keys) // max(1, spread) for number in range(spread)] if keys else []
    return shown, list(dict.fromkeys([*wanted, *even]))


def side_by_side(every: Mapping[str, Sequence[Example]]) -> list[Example]:
    """The examples of several evaluations of one set as rows, by label; those that most of them
    hold first. A map is named by its label, with its own title where a label has several."""
    rows: dict[str, Example] = {}
    held: dict[str, int] = {}
    for label, examples in every.items():
        for example in examples:
            own = {title: m for title, m in example.maps.items() if title != TRUTH}
            names = {title: label if len(own) == 1 else f"{label} {title}" for title in own}
            place = f"{example.place} of {label}" if example.place and len(every) > 1 else ""
            row = rows.setdefault(
                example.key,
                replace(
                    example,
                    maps={TRUTH: example.maps[TRUTH]},
                    place=place or example.place,
                    scores={},
                ),
            )
            if row.image.shape != example.image.shape:
                continue
            held[example.key] = held.get(example.key, 0) + 1
            rows[example.key] = replace(
                row,
                maps={**row.maps, **{names[title]: m for title, m in own.items()}},
                scores={
                    **row.scores,
                    **{names[t]: s for t, s in example.scores.items() if t in names},
                },
            )
    return sorted(rows.values(), key=lambda row: -held[row.key])


def reduced(image: Tensor) -> Tensor:
    """uint8 (3, h, w), smoothly reduced to `LARGEST_SIDE`."""
    size = _size(image.shape[1], image.shape[2])
    if size == image.shape[1:]:
        return image
    smooth = interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)
    return smooth[0].round().clamp(0, 255).to(torch.uint8)


def reduced_map(labels: Tensor) -> Tensor:
    """(h, w) integers, reduced to `LARGEST_SIDE` by taking every n-th."""
    height, width = _size(labels.shape[0], labels.shape[1])
    rows = torch.arange(height) * labels.shape[0] // height
    columns = torch.arange(width) * labels.shape[1] // width
    return labels[rows][:, columns]


def _size(height: int, width: int) -> tuple[int, int]:
    factor = min(1.0, LARGEST_SIDE / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))
