"""All images of a set through a segmenter, shared by processes and journalled, one record each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from vilseg_data import BrokenSampleError, LabelledSample, LabelledSet
from vilseg_eval.confusion import LabelError
from vilseg_eval.counting import ImageRecord
from vilseg_eval.journal import Journal
from vilseg_eval.segmenters.base import Segmentation, Segmenter

Progress = Callable[[int, int], None]

_LISTED = 10


class Ranks(Protocol):
    """The processes that share an evaluation, as one of them sees them."""

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    def gather(self, items: list[Any], /) -> list[Any]:
        """The items of all processes, in rank order, on every one of them."""
        ...


@dataclass(frozen=True)
class Alone:
    """One process."""

    rank: int = 0
    size: int = 1

    def gather(self, items: list[Any], /) -> list[Any]:
        return items


class Counts(Protocol):
    """What makes the record of an image of a segmenter's answer."""

    def count(self, sample: LabelledSample, answer: Segmentation, /) -> ImageRecord: ...


def count_images(
    segmenter: Segmenter,
    dataset: LabelledSet,
    *,
    counter: Counts,
    batch_size: int,
    journal: Journal | None,
    ranks: Ranks,
    progress: Progress | None,
) -> list[ImageRecord]:
    """One record an image, in the order of the set, on every process."""
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
    total = len(dataset)
    if total == 0:
        raise ValueError(f"dataset: {dataset.name} holds no images; check its folder and split")
    starts = range(0, total, batch_size)
    # Batches are dealt out whole: what a model says of an image may depend on those beside it.
    mine = range(ranks.rank, len(starts), ranks.size)
    share = sum(min(batch_size, total - starts[b]) for b in mine)
    done: list[tuple[int, list[ImageRecord]]] = []
    problems: list[tuple[int, str]] = []
    finished = 0
    with nullcontext() if journal is None else journal:
        for batch in mine:
            positions = range(starts[batch], min(starts[batch] + batch_size, total))
            records = None if journal is None else journal.recall(batch)
            if records is None:
                records = []
                samples = list(_readable(dataset, positions, problems=problems))
                answers = _segment(segmenter, [sample for _, sample in samples])
                for (i, sample), answer in zip(samples, answers, strict=True):
                    try:
                        records.append(counter.count(sample, answer))
                    except LabelError as error:
                        problems.append((i, f"{sample.key}: {error}"))
                if journal is not None and len(records) == len(positions):
                    journal.note(batch, records)
            done.append((batch, records))
            finished += len(positions)
            if progress is not None:
                progress(finished, share)
    problems = sorted(ranks.gather(problems))
    if problems:
        raise ValueError(_refusal([text for _, text in problems], images=total))
    return [record for _, records in sorted(ranks.gather(done)) for record in records]


def _readable(
    dataset: LabelledSet, positions: Sequence[int], *, problems: list[tuple[int, str]]
) -> Iterator[tuple[int, LabelledSample]]:
    for i in positions:
        try:
            yield i, dataset[i]
        except BrokenSampleError as error:
            problems.append((i, str(error)))


def _segment(segmenter: Segmenter, samples: Sequence[LabelledSample]) -> Sequence[Segmentation]:
    if not samples:
        return []
    return segmenter.segment([s.image for s in samples], [s.key for s in samples])


def _refusal(problems: Sequence[str], *, images: int) -> str:
    listed = "\n".join(f"  {problem}" for problem in problems[:_LISTED])
    more = f"\n  and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
    return f"{len(problems)} of {images} images cannot be scored:\n{listed}{more}"
