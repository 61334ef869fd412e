"""Images through a segmenter into the confusion matrices of every candidate set."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch

from vilseg_data import LabelledSet
from vilseg_data.labelled.layout import list_hash
from vilseg_eval.abstention import Abstention, calibration_curve, choose_threshold, risk_coverage
from vilseg_eval.background import BackgroundRule
from vilseg_eval.counting import Counter, ImageRecord, candidate_sets, pooled_levels
from vilseg_eval.image_counts import ImageCounts
from vilseg_eval.journal import Journal
from vilseg_eval.passes import Alone, Progress, Ranks, count_images
from vilseg_eval.protocols import PROTOCOLS, ClassSets, usual_protocols
from vilseg_eval.results import EvalResult, Scoring
from vilseg_eval.segmenters.base import Segmenter


def evaluate(
    segmenter: Segmenter,
    dataset: LabelledSet,
    *,
    split: str | None = None,
    batch_size: int = 8,
    background: BackgroundRule | None = None,
    abstention: Abstention | None = None,
    word_classes: Sequence[int] | None = None,
    scoring: Scoring | None = None,
    about: Mapping[str, Any] | None = None,
    journal: Journal | None = None,
    ranks: Ranks | None = None,
    progress: Progress | None = None,
) -> EvalResult:
    """Score a segmenter on every image of a labelled set, under every protocol at once.

    Several processes take turns at the batches; the result is the same on all of them, and the
    same, bit for bit, as that of one.

    Args:
        segmenter: its words are those of the foreground classes, in the order of their ids, then
            those of the background rule.
        dataset: images and label maps at their own sizes.
        split: recorded in the results.
        batch_size: images handed to the segmenter at a time.
        background: ignored by default; else it counts as a class in protocols of its own.
        abstention: the threshold of an `auto` rule, by `calibrate`.
        word_classes: the class id of each word of the segmenter, where a class has several.
        scoring: of the matrices, see there.
        about: more keys to record in the results.
        journal: entered; images in it are not segmented again.
        ranks: the processes that share the work.
        progress: called with (images done, images in all) of this process.

    Raises:
        ValueError: an empty set, another number of words than of classes, or images, masks and
            predicted maps that cannot be read or scored (all are looked at, then listed).
    """
    rule = background or BackgroundRule()
    scoring = scoring or Scoring()
    sets = ClassSets.of(dataset.classes)
    threshold = background_threshold(rule, abstention, sets=sets)
    owners = word_owners(segmenter, dataset, rule=rule, given=word_classes)
    protocols = (*usual_protocols(background=rule.counted), *scoring.extra)
    chosen = candidate_sets(protocols, sets=sets, word_classes=owners, threshold=threshold)
    counter = Counter(sets, word_classes=owners, candidates=chosen, levels=threshold is not None)
    records = count_images(
        segmenter,
        dataset,
        counter=counter,
        batch_size=batch_size,
        journal=journal,
        ranks=ranks or Alone(),
        progress=progress,
    )
    return result_of(
        records,
        segmenter=segmenter,
        dataset=dataset,
        split=split,
        rule=rule,
        abstention=abstention,
        owners=owners,
        scoring=scoring,
        about=about or {},
    )


def result_of(
    records: Sequence[ImageRecord],
    *,
    segmenter: Segmenter,
    dataset: LabelledSet,
    split: str | None,
    rule: BackgroundRule,
    abstention: Abstention | None,
    owners: Sequence[int],
    scoring: Scoring,
    about: Mapping[str, Any],
) -> EvalResult:
    """The result of counted images; `owners` are the class ids of the segmenter's words."""
    sets = ClassSets.of(dataset.classes)
    counted = records[0].levels is not None
    levels = pooled_levels(records, classes=len(sets.names)) if counted else None
    return EvalResult.of(
        _image_counts(records, classes=len(sets.names)),
        keys=[record.key for record in records],
        sets=sets,
        about={
            "segmenter": segmenter.name,
            "data": dataset.name,
            "split": split,
            "images": len(records),
            **_words(segmenter, sets=sets, owners=owners, rule=rule),
            "labels": list(sets.names),
            "unseen": [sets.names[i] for i in sets.unseen],
            "background_class": None if sets.background is None else sets.names[sets.background],
            "templates": list(segmenter.templates),
            "name_set": None,
            "template_set": None,
            "background": str(rule),
            "abstention": None if abstention is None else abstention.as_json(),
            "risk_coverage": None if levels is None else risk_coverage(levels),
            "resolution": "native",
            "inference": dict(getattr(segmenter, "settings", {})),
            "list_hash": list_hash(record.key for record in records),
            "weights_hash": None,
            "run": None,
            "versions": _versions(),
            **about,
        },
        scoring=scoring,
        levels=levels,
    )


def calibrate(
    segmenter: Segmenter,
    dataset: LabelledSet,
    *,
    split: str,
    scored: frozenset[str],
    batch_size: int = 8,
    word_classes: Sequence[int] | None = None,
    ranks: Ranks | None = None,
    progress: Progress | None = None,
) -> Abstention:
    """The threshold of `BackgroundRule` "auto", from the images of another split.

    Args:
        split: the name of this split, recorded.
        scored: the ids of the images that will be scored; none of them may be in `dataset`.

    Raises:
        ValueError: the two share images, or the set has no background class.
    """
    sets = ClassSets.of(dataset.classes)
    rule = BackgroundRule(kind="auto", split=split)
    owners = word_owners(segmenter, dataset, rule=rule, given=word_classes)
    chosen = candidate_sets([PROTOCOLS["all"]], sets=sets, word_classes=owners, threshold=None)
    records = count_images(
        segmenter,
        dataset,
        counter=Counter(sets, word_classes=owners, candidates=chosen, levels=True),
        batch_size=batch_size,
        journal=None,
        ranks=ranks or Alone(),
        progress=progress,
    )
    keys = [record.key for record in records]
    shared = sorted(scored.intersection(keys))
    if shared:
        raise ValueError(
            f"background: {len(shared)} images of {split} are scored too ({', '.join(shared[:5])}"
            f"{', ...' if len(shared) > 5 else ''}); calibrate on a split without them"
        )
    levels = pooled_levels(records, classes=len(sets.names))
    support = _image_counts(records, classes=len(sets.names))["all"].pooled().sum(1)
    return Abstention(
        threshold=choose_threshold(levels, support, sets=sets),
        data=dataset.name,
        split=split,
        images=len(keys),
        list_hash=list_hash(keys),
        curve=calibration_curve(levels, support, sets=sets),
    )


def background_threshold(
    rule: BackgroundRule, abstention: Abstention | None, *, sets: ClassSets
) -> float | None:
    if rule.counted and sets.background is None:
        raise ValueError(
            f"background: {rule} needs a set with a background class, and this one has none; "
            "use background ignore, or a set that has it (voc, context-60, coco-object)"
        )
    if (rule.kind == "auto") != (abstention is not None):
        raise ValueError(
            "abstention: expected one with the rule auto and with no other, "
            f"got {'none' if abstention is None else 'one'} with {rule}; see calibrate"
        )
    return rule.threshold if abstention is None else abstention.threshold


def word_owners(
    segmenter: Segmenter,
    dataset: LabelledSet,
    *,
    rule: BackgroundRule,
    given: Sequence[int] | None,
) -> list[int]:
    """The class id of each word of the segmenter."""
    sets = ClassSets.of(dataset.classes)
    foreground = list(sets.foreground if given is None else given)
    behind = len(segmenter.words) - len(foreground)
    # Label maps made elsewhere know background by its id: they need no word for it.
    allowed = {"class": {0, 1}, "words": {len(rule.words)}}.get(rule.kind, {0})
    if behind not in allowed:
        raise ValueError(
            f"segmenter: expected {len(foreground)} words, one for each foreground class of "
            f"{dataset.name}"
            + (f", and {max(allowed)} for background" if max(allowed) else "")
            + f", got {len(segmenter.words)}; build it with the set's prompts"
        )
    missing = sorted(set(sets.foreground) - set(foreground))
    if missing or not set(foreground) <= set(sets.foreground):
        raise ValueError(
            f"word_classes: expected every foreground class of {dataset.name} and no other, "
            f"got {foreground[:8]}; give each class a word"
        )
    return foreground + [-1 if sets.background is None else sets.background] * behind


def _words(
    segmenter: Segmenter, *, sets: ClassSets, owners: Sequence[int], rule: BackgroundRule
) -> dict[str, Any]:
    of_class = {
        c: [word for word, owner in zip(segmenter.words, owners, strict=True) if owner == c]
        for c in (*sets.foreground, *(() if sets.background is None else (sets.background,)))
    }
    behind = [] if sets.background is None else of_class[sets.background]
    return {
        "names": [of_class[c][0] for c in sets.foreground],
        "words": [of_class[c] for c in sets.foreground],
        "background_words": behind if rule.counted else [],
    }


def _image_counts(records: Sequence[ImageRecord], *, classes: int) -> dict[str, ImageCounts]:
    """By candidate set; without those that some answer could not be restricted to."""
    found = {}
    for name in records[0].cells:
        cells = [record.cells[name] for record in records]
        whole = [pair for pair in cells if pair is not None]
        if len(whole) == len(cells):
            found[name] = ImageCounts.of(whole, classes=classes)
    return found


def _versions() -> dict[str, str]:
    packages = ("vilseg-core", "vilseg-data", "vilseg-eval", "numpy")
    return {name: version(name) for name in packages} | {
        "torch": str(torch.__version__),  # with the build, which the package's version leaves out
        "python": platform.python_version(),
    }
