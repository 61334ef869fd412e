"""The rows of one run scored on labelled scenes, which are drawn and painted once."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vilseg_core.models import ViLSeg
from vilseg_data import ClassList, LabelledSample, LabelledSet, build_labelled
from vilseg_data.labelled.classes import IGNORE, colour_map
from vilseg_data.labelled.coco import coco_classes
from vilseg_data.world import WORLDS
from vilseg_eval import Segmenter, evaluate
from vilseg_eval.ceilings import ProbeSegmenter, TruthSegmenter
from vilseg_train.reproduce.plan import Row
from vilseg_train.run import Run
from vilseg_train.segmenter_choice import build_segmenter

SCORED_SPLIT = "test"
MASKS_SPLIT = "masks"  # what the supervised ceiling learns from


class Scorer:
    """Scores rows of one run.

    Args:
        run: that was trained.
        images: labelled scenes to score on; the supervised ceiling learns from four times as many
            others.
        seed: of the ceiling.
    """

    def __init__(self, run: Run, *, images: int, seed: int) -> None:
        self.run, self.images, self.seed = run, images, seed
        self._sets: dict[tuple[Any, ...], LabelledSet] = {}

    def score(self, row: Row) -> dict[str, Any]:
        """results.json's "protocols" and "chance", parameters of the model, steps of the run, and
        images a second of processor time, naming and counting included.

        Where a row has more words than the world has classes, or asks for the things of the
        held-out pairs alone, the mIoU of every protocol is over the classes that it is about.
        """
        dataset = self.dataset(row)
        segmenter = self.segmenter(row, dataset)
        began = time.process_time()
        results = evaluate(segmenter, dataset, split=SCORED_SPLIT).results
        seconds = time.process_time() - began
        protocols = results["protocols"]
        about = self._about(row, dataset)
        if about != dataset.classes.names:
            for protocol in protocols.values():
                found = [protocol["iou"].get(name) for name in about]
                defined = [iou for iou in found if iou is not None]
                protocol["miou"] = statistics.fmean(defined) if defined else None
        return {
            "protocols": protocols,
            "chance": results["chance"],
            "parameters": sum(p.numel() for p in self.run.model.parameters()),
            "steps": self.run.step,
            "images_per_second": len(dataset) / seconds,
        }

    def dataset(self, row: Row) -> LabelledSet:
        """The scenes that a row is scored on, with the words that may be named as its classes."""
        data = self.run.config.data
        key = (row.compositions, row.image_size or data.image_size)
        if key not in self._sets:
            self._sets[key] = _Painted(
                build_labelled(
                    data.world,
                    split=SCORED_SPLIT,
                    count=self.images,
                    size=key[1],
                    seed=data.seed,
                    compositions=row.compositions,
                )
            )
        scenes = self._sets[key]
        own, words = len(scenes.classes), row.words or len(scenes.classes)
        if words == own:
            return scenes
        if words > own:
            return _with_more_classes(scenes, words - own)
        return _with_fewer_classes(scenes, words)

    def segmenter(self, row: Row, dataset: LabelledSet) -> Segmenter:
        """How the row reads the run."""
        data = self.run.config.data
        if row.segmenter == "probe":
            masks = build_labelled(
                data.world,
                split=MASKS_SPLIT,
                count=4 * self.images,
                size=data.image_size,
                seed=data.seed,
            )
            return ProbeSegmenter(self.run.model, masks, seed=self.seed)
        run = self.run if row.regions is None else with_regions(self.run, row.regions)
        words = list(dataset.classes.prompts)
        if row.synonyms is not None:
            own = WORLDS[data.world].synonyms
            words = [own[word][row.synonyms] if word in own else word for word in words]
        segmenter = build_segmenter(
            "vilseg" if row.segmenter == "truth" else row.segmenter,
            run,
            words=words,
            templates=[row.template],
            options=row.options,
        )
        return TruthSegmenter(segmenter, dataset) if row.segmenter == "truth" else segmenter

    def _about(self, row: Row, dataset: LabelledSet) -> Sequence[str]:
        world = WORLDS[self.run.config.data.world]
        if row.held_out_things:
            return tuple(world.held_out)
        return tuple(name for name in dataset.classes.names if name in world.names)


class _Painted:
    """A labelled set that keeps its samples."""

    def __init__(self, dataset: LabelledSet) -> None:
        self.name, self.classes = dataset.name, dataset.classes
        self._samples = [dataset[index] for index in range(len(dataset))]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int, /) -> LabelledSample:
        return self._samples[index]


class _OtherClasses:
    """A labelled set with other classes; `ids` are the new numbers of the old ones and of 255, the
    old numbers by default."""

    def __init__(
        self, dataset: LabelledSet, classes: ClassList, *, ids: Tensor | None = None
    ) -> None:
        self.name, self.classes = dataset.name, classes
        self._dataset, self._ids = dataset, ids

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int, /) -> LabelledSample:
        sample = self._dataset[index]
        return sample if self._ids is None else replace(sample, labels=self._ids[sample.labels])


def _with_more_classes(dataset: LabelledSet, count: int) -> LabelledSet:
    """`count` further classes, of which it shows nothing: the first of COCO-Stuff's that it does
    not have."""
    own = dataset.classes
    others = [word for word in coco_classes(171).prompts if word not in own.prompts][:count]
    classes = ClassList(
        names=(*own.names, *others),
        prompts=(*own.prompts, *others),
        unseen=own.unseen,
        background=None,
        palette=colour_map(len(own) + len(others)),
    )
    return _OtherClasses(dataset, classes)


def _with_fewer_classes(dataset: LabelledSet, count: int) -> LabelledSet:
    """`count` of its classes, evenly among them; pixels of others are ignored."""
    own = dataset.classes
    kept = [number * len(own) // count for number in range(count)]
    classes = ClassList(
        names=tuple(own.names[k] for k in kept),
        prompts=tuple(own.prompts[k] for k in kept),
        unseen=tuple(kept.index(k) for k in own.unseen if k in kept),
        background=None,
        palette=own.palette[kept],
    )
    ids = torch.full((IGNORE + 1,), IGNORE)
    ids[kept] = torch.arange(count)
    return _OtherClasses(dataset, classes, ids=ids)


def with_regions(run: Run, pooling: str) -> Run:
    """The same run, regions pooled another way."""
    model = run.model
    config = model.config.model_copy(update={"region_pooling": pooling})
    changed = ViLSeg(
        config,
        image_encoder=model.image_encoder,
        text_encoder=model.text_encoder,
        clustering_head=model.clustering_head,
        projection=model.projection,
    )
    return replace(run, model=changed.eval())
