"""How far a model could come: its features read by a classifier that has seen masks, and its
clusters named by the ground truth. Both need masks, so neither is a method; they bound those that
are.

Legend: m images, k foreground classes, d embedding dimension, (gh, gw) the token grid, (h, w) one
image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from vilseg_core.models import ViLSeg
from vilseg_data import LabelledSet
from vilseg_data.seeding import generator_for
from vilseg_eval.confusion import IGNORE, OUTSIDE
from vilseg_eval.features import encode_images, inference
from vilseg_eval.framing import InferenceConfig
from vilseg_eval.protocols import ClassSets
from vilseg_eval.segmenters.base import (
    DenseSegmentation,
    LabelSegmentation,
    RegionSegmentation,
    Segmenter,
)

_BATCH = 32


class ProbeSegmenter:
    """The supervised ceiling: a linear classifier of frozen pixel embeddings, trained on masks.

    Its scores are brought to the size of the masks bilinearly, in training as at the end.

    Args:
        model: whose encoder is read.
        dataset: images with masks to learn from, all of one size; never those that are scored.
        steps: of AdamW, 32 images each.
        lr: at the first step; falls linearly to 0.
        seed: of the order of the images.
        progress: called with (images read, images in all).

    Raises:
        ValueError: `steps` is below 1, or the images differ in size.
    """

    name = "probe"
    templates: tuple[str, ...] = ()

    def __init__(
        self,
        model: ViLSeg,
        dataset: LabelledSet,
        *,
        steps: int = 600,
        lr: float = 1e-2,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if steps < 1:
            raise ValueError(f"steps: expected at least 1, came {steps}; train for one or more")
        sets = ClassSets.of(dataset.classes)
        self.words = tuple(dataset.classes.prompts[i] for i in sets.foreground)
        self.model = model
        self._framing = InferenceConfig().fitted(
            image_size=model.config.image.image_size, patch_size=model.image_encoder.patch_size
        )
        features, labels = self._read(dataset, sets, progress)
        # Standardised, so that one learning rate serves any encoder.
        self._mean = features.mean((0, 2, 3))[:, None, None]
        self._gain = features.std((0, 2, 3)).clamp_min(1e-6).reciprocal()[:, None, None]
        self._weight = features.new_zeros(len(self.words), features.shape[1], requires_grad=True)
        self._bias = features.new_zeros(len(self.words), 1, 1, requires_grad=True)
        self._learn(features, labels, steps=steps, lr=lr, seed=seed)

    def segment(
        self, images: Sequence[Tensor], _keys: Sequence[str] = (), /
    ) -> list[DenseSegmentation]:
        """One answer for each uint8 (3, h, w) image."""
        with inference(self.model):
            return [
                DenseSegmentation(self._scores(pixels), (image.shape[1], image.shape[2]))
                for pixels, image in zip(self._encode(images), images, strict=True)
            ]

    def _encode(self, images: Sequence[Tensor]) -> list[Tensor]:
        encoded = encode_images(self.model, images, framing=self._framing, batch_size=_BATCH)
        return [one.pixels for one in encoded]

    def _read(
        self,
        dataset: LabelledSet,
        sets: ClassSets,
        progress: Callable[[int, int], None] | None,
    ) -> tuple[Tensor, Tensor]:
        """Pixel embeddings (m, d, gh, gw) and word indices (m, h, w), `IGNORE` where none."""
        index = torch.full((max(IGNORE, len(sets.names)) + 1,), IGNORE)
        index[list(sets.foreground)] = torch.arange(len(sets.foreground))
        features, labels = [], []
        with inference(self.model):
            for start in range(0, len(dataset), _BATCH):
                stop = min(start + _BATCH, len(dataset))
                samples = [dataset[i] for i in range(start, stop)]
                features += self._encode([sample.image for sample in samples])
                labels += [index[sample.labels] for sample in samples]
                if progress is not None:
                    progress(stop, len(dataset))
        sizes = {tuple(label.shape) for label in labels}
        if len(sizes) != 1:
            raise ValueError(
                f"dataset: expected masks of one size, came {sorted(sizes)[:4]}; resize them"
            )
        return torch.stack(features), torch.stack(labels)

    def _scores(self, pixels: Tensor) -> Tensor:
        """(..., d, gh, gw) -> (..., k, gh, gw)."""
        standard = (pixels - self._mean) * self._gain
        return torch.einsum("kd,...dyx->...kyx", self._weight, standard) + self._bias

    def _learn(self, features: Tensor, labels: Tensor, *, steps: int, lr: float, seed: int) -> None:
        optimizer = torch.optim.AdamW([self._weight, self._bias], lr=lr, weight_decay=1e-4)
        draw = generator_for(seed, len(features))
        size = (labels.shape[1], labels.shape[2])
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 - step / steps)
            rows = torch.from_numpy(draw.integers(len(features), size=_BATCH))
            scores = interpolate(self._scores(features[rows]), size=size, mode="bilinear")
            targets = labels[rows].to(scores.device)
            loss = cross_entropy(scores, targets, ignore_index=IGNORE)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
        self._weight.requires_grad_(False)
        self._bias.requires_grad_(False)


class TruthSegmenter:
    """The cluster ceiling: the regions of another segmenter, each with the class that most of its
    labelled pixels have.

    No naming of those regions gets more pixels right. Background and void pixels have no say; a
    region that holds nothing else is outside the classes.

    Args:
        segmenter: one whose answers are `RegionSegmentation`s.
        dataset: where the truth is looked up, by the keys of its images.
    """

    templates: tuple[str, ...] = ()

    def __init__(self, segmenter: Segmenter, dataset: LabelledSet) -> None:
        self.name = f"{segmenter.name}-truth"
        self.words = segmenter.words
        self._segmenter = segmenter
        self._dataset = dataset
        self._places = {dataset[i].key: i for i in range(len(dataset))}
        sets = ClassSets.of(dataset.classes)
        self._ids = list(sets.foreground)

    def segment(self, images: Sequence[Tensor], keys: Sequence[str], /) -> list[LabelSegmentation]:
        """One answer for each uint8 (3, h, w) image.

        Raises:
            ValueError: the segmenter does not answer with regions.
        """
        answers = self._segmenter.segment(images, keys)
        named = []
        for answer, key in zip(answers, keys, strict=True):
            if not isinstance(answer, RegionSegmentation):
                raise ValueError(
                    f"segmenter: expected one that cuts regions, came {self._segmenter.name!r}, "
                    f"which answers with {type(answer).__name__}; use vilseg or kmeans"
                )
            named.append(
                LabelSegmentation(
                    partial(self._name, answer.regions.cpu(), place=self._places[key]),
                    len(self.words),
                )
            )
        return named

    def _name(self, regions: Tensor, *, place: int) -> Tensor:
        truth = self._dataset[place].labels
        index = torch.full((max(IGNORE, *self._ids) + 1,), len(self._ids))
        index[self._ids] = torch.arange(len(self._ids))
        width = len(self._ids) + 1
        votes = torch.bincount(
            (regions * width + index[truth]).flatten(), minlength=(int(regions.max()) + 1) * width
        ).view(-1, width)
        winners = votes[:, :-1].argmax(1)
        winners[votes[:, :-1].sum(1) == 0] = OUTSIDE
        return winners[regions]
