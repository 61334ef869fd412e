"""Images through a segmenter into one confusion matrix for each candidate set."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import Tensor

from vilseg_data import LabelledSample, LabelledSet
from vilseg_eval.confusion import OUTSIDE, ConfusionMatrix, LabelError
from vilseg_eval.protocols import BACKGROUND_RULE, ClassSets, Which
from vilseg_eval.results import EvalResult
from vilseg_eval.segmenters.base import Segmentation, Segmenter

_SETS: tuple[Which, ...] = ("all", "unseen")
_LISTED = 10


def evaluate(
    segmenter: Segmenter,
    dataset: LabelledSet,
    *,
    split: str | None = None,
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> EvalResult:
    """Score a segmenter on every image of a labelled set, under every protocol at once.

    Args:
        segmenter: its words are those of the foreground classes, in the order of their ids.
        dataset: images and label maps at their own sizes.
        split: recorded in the results.
        batch_size: images handed to the segmenter at a time.
        progress: called with (images done, images in all).

    Raises:
        ValueError: an empty set, another number of words than of foreground classes, or predicted
            maps that cannot be scored (all of them are looked at, then listed).
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
    if len(dataset) == 0:
        raise ValueError(f"dataset: {dataset.name} holds no images; check its folder and split")
    sets = ClassSets.of(dataset.classes)
    if len(segmenter.words) != len(sets.foreground):
        raise ValueError(
            f"segmenter: expected {len(sets.foreground)} words, one for each foreground class of "
            f"{dataset.name}, got {len(segmenter.words)}; build it with the set's prompts"
        )
    scorer = _Scorer(sets)
    problems: list[str] = []
    for start in range(0, len(dataset), batch_size):
        stop = min(start + batch_size, len(dataset))
        samples = [dataset[i] for i in range(start, stop)]
        answers = segmenter.segment([s.image for s in samples], [s.key for s in samples])
        for sample, answer in zip(samples, answers, strict=True):
            try:
                scorer.add(sample, answer)
            except LabelError as error:
                problems.append(f"{sample.key}: {error}")
        if progress is not None:
            progress(stop, len(dataset))
    if problems:
        raise ValueError(_refusal(problems, images=len(dataset)))
    return EvalResult.of(
        {name: matrix for name, matrix in scorer.matrices.items() if matrix is not None},
        sets=sets,
        about={
            "segmenter": segmenter.name,
            "data": dataset.name,
            "split": split,
            "images": len(dataset),
            "names": list(segmenter.words),
            "templates": list(segmenter.templates),
            "background": BACKGROUND_RULE,
            "versions": _versions(),
        },
    )


class _Scorer:
    """One matrix for each candidate set; None once an answer could not be restricted to it."""

    def __init__(self, sets: ClassSets) -> None:
        self.ids = torch.tensor([*sets.foreground, OUTSIDE])
        self.candidates = {
            which: [sets.foreground.index(i) for i in sets.ids(which)]
            for which in _SETS
            if sets.ids(which)
        }
        self.matrices: dict[str, ConfusionMatrix | None] = {
            which: ConfusionMatrix(len(sets.names)) for which in self.candidates
        }

    def add(self, sample: LabelledSample, answer: Segmentation) -> None:
        for which, candidates in self.candidates.items():
            matrix = self.matrices[which]
            if matrix is None:
                continue
            indices = answer.labels(candidates)
            if indices is None:
                self.matrices[which] = None
            else:
                matrix.update(self._class_ids(indices), sample.labels)

    def _class_ids(self, indices: Tensor) -> Tensor:
        ids = self.ids.to(indices.device)
        inside = (indices >= OUTSIDE) & (indices < len(ids) - 1)
        # Index -1 (OUTSIDE) reads the last entry; what is no index at all stays what it is.
        return torch.where(inside, ids[torch.where(inside, indices, OUTSIDE)], indices)


def _refusal(problems: list[str], *, images: int) -> str:
    listed = "\n".join(f"  {problem}" for problem in problems[:_LISTED])
    more = f"\n  and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
    return f"{len(problems)} of {images} predicted label maps cannot be scored:\n{listed}{more}"


def _versions() -> dict[str, str]:
    packages = ("vilseg-core", "vilseg-data", "vilseg-eval", "numpy")
    return {name: version(name) for name in packages} | {
        "torch": str(torch.__version__),  # with the build, which the package's version leaves out
        "python": platform.python_version(),
    }
