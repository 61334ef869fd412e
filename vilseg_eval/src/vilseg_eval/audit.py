"""The same images under many ways of naming: how much of a score is bought by words.

A segmenter holds the rows of every naming scheme and template set at once; each cell of the grid is
read from its own rows of one answer, so that every image is encoded once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev
from typing import Any

from torch import Tensor

from vilseg_data import LabelledSample, LabelledSet
from vilseg_eval.background import BackgroundRule
from vilseg_eval.counting import Counter, ImageRecord, candidate_sets
from vilseg_eval.evaluate import background_threshold, result_of
from vilseg_eval.image_counts import Cells
from vilseg_eval.journal import Journal
from vilseg_eval.passes import Alone, Progress, Ranks, count_images
from vilseg_eval.protocols import ClassSets, usual_protocols
from vilseg_eval.results import SCHEMA, EvalResult, Scoring
from vilseg_eval.segmenters.base import (
    DenseSegmentation,
    RegionSegmentation,
    Segmentation,
    Segmenter,
)

Grid = Mapping[tuple[str, str], EvalResult]
"""By name set and template set."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One way of naming: `words` with the class id of each, in sentences by `templates`."""

    names: str
    template_set: str
    words: tuple[str, ...]
    word_classes: tuple[int, ...]
    templates: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"{self.names}-{self.template_set}"


@dataclass(frozen=True)
class _Naming:
    """What a result records of the segmenter of one cell."""

    name: str
    words: tuple[str, ...]
    templates: tuple[str, ...]
    settings: Mapping[str, Any]

    def segment(self, _images: Sequence[Tensor], _keys: Sequence[str], /) -> list[Segmentation]:
        raise NotImplementedError


class _GridCounter:
    """A counter for each cell over its own rows of the answer."""

    def __init__(self, counters: Mapping[str, Counter], *, rows: Mapping[str, slice]) -> None:
        self.counters, self.rows = counters, rows

    def count(self, sample: LabelledSample, answer: Segmentation) -> ImageRecord:
        cells: dict[str, Cells | None] = {}
        for label, counter in self.counters.items():
            record = counter.count(sample, _part(answer, self.rows[label]))
            cells |= {f"{label}/{name}": found for name, found in record.cells.items()}
        return ImageRecord(sample.key, cells)


def audit(
    segmenter: Segmenter,
    dataset: LabelledSet,
    cells: Sequence[Cell],
    *,
    split: str | None = None,
    batch_size: int = 8,
    background: BackgroundRule | None = None,
    scoring: Scoring | None = None,
    about: Mapping[str, Any] | None = None,
    journal: Journal | None = None,
    ranks: Ranks | None = None,
    progress: Progress | None = None,
) -> dict[tuple[str, str], EvalResult]:
    """A whole evaluation for each cell, from one pass over the images.

    Args:
        segmenter: its words are those of all cells, one cell after the other; its answers are
            regions or dense scores.
        background, scoring, about and the rest: as in `evaluate`. An `auto` rule would need a
            threshold for each cell and is refused.
    """
    rule, scoring = background or BackgroundRule(), scoring or Scoring()
    if rule.kind == "auto":
        raise ValueError(
            "background: expected a rule without calibration for several name or template sets, "
            f"came {rule}; give threshold:T, or one set of each"
        )
    sets = ClassSets.of(dataset.classes)
    threshold = background_threshold(rule, None, sets=sets)
    protocols = (*usual_protocols(background=rule.counted), *scoring.extra)
    counters, rows, start = {}, {}, 0
    for cell in cells:
        chosen = candidate_sets(
            protocols, sets=sets, word_classes=cell.word_classes, threshold=threshold
        )
        counters[cell.label] = Counter(sets, word_classes=cell.word_classes, candidates=chosen)
        rows[cell.label] = slice(start, start + len(cell.words))
        start += len(cell.words)
    if start != len(segmenter.words):
        raise ValueError(
            f"segmenter: expected {start} words, those of all cells, got {len(segmenter.words)}"
        )
    records = count_images(
        segmenter,
        dataset,
        counter=_GridCounter(counters, rows=rows),
        batch_size=batch_size,
        journal=journal,
        ranks=ranks or Alone(),
        progress=progress,
    )
    settings = getattr(segmenter, "settings", {})
    return {
        (cell.names, cell.template_set): result_of(
            [_of_cell(record, cell.label) for record in records],
            segmenter=_Naming(segmenter.name, cell.words, cell.templates, settings),
            dataset=dataset,
            split=split,
            rule=rule,
            abstention=None,
            owners=cell.word_classes,
            scoring=scoring,
            about={
                **(about or {}),
                "name_set": cell.names,
                "template_set": cell.template_set,
            },
        )
        for cell in cells
    }


def audit_summary(grid: Grid) -> dict[str, Any]:
    """What `audit.json` holds: by protocol the mIoU of every cell, and how far they lie apart."""
    names = list(dict.fromkeys(names for names, _ in grid))
    templates = list(dict.fromkeys(templates for _, templates in grid))
    first = next(iter(grid.values())).results
    protocols = {}
    for protocol in first["protocols"]:
        scored = {key: result.results["protocols"][protocol] for key, result in grid.items()}
        miou = {key: None if found is None else found["miou"] for key, found in scored.items()}
        defined = [value for value in miou.values() if value is not None]
        protocols[protocol] = {
            "miou": [[miou[n, t] for t in templates] for n in names],
            "lowest": min(defined, default=None),
            "highest": max(defined, default=None),
            "mean": fmean(defined) if defined else None,
            "spread": max(defined) - min(defined) if defined else None,
            "deviation": pstdev(defined) if defined else None,
        }
    about = {key: first[key] for key in ("data", "split", "images", "segmenter", "background")}
    return {
        "schema": SCHEMA,
        **about,
        "names": names,
        "templates": templates,
        "protocols": protocols,
    }


def _part(answer: Segmentation, rows: slice) -> Segmentation:
    if isinstance(answer, RegionSegmentation):
        return replace(answer, scores=answer.scores[:, rows])
    if isinstance(answer, DenseSegmentation):
        return replace(answer, scores=answer.scores[rows])
    raise ValueError(
        "names, templates: several sets need a segmenter that scores words, "
        f"{type(answer).__name__} gives labels; evaluate one set at a time"
    )


def _of_cell(record: ImageRecord, label: str) -> ImageRecord:
    prefix = f"{label}/"
    cells = {
        name.removeprefix(prefix): found
        for name, found in record.cells.items()
        if name.startswith(prefix)
    }
    return ImageRecord(record.key, cells)
