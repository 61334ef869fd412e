"""Evaluate a run, or a folder of label maps, on a labelled set; leave scores and a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from vilseg_data import LabelledSet, build_labelled
from vilseg_data.labelled import LabelledFiles
from vilseg_data.labelled.layout import list_hash
from vilseg_eval import (
    Abstention,
    BackgroundRule,
    ClassSets,
    EvalResult,
    Journal,
    PredictionFolder,
    Segmenter,
    calibrate,
    evaluate,
)
from vilseg_eval.by_class import ByClass
from vilseg_eval.features import weights_hash
from vilseg_eval.files import write_atomically
from vilseg_eval.passes import Alone, Ranks
from vilseg_eval.report import described, evaluation_report
from vilseg_eval.report.subject import evaluation_title
from vilseg_eval.resolution import at_resolution, image_keys
from vilseg_train.card import renew_scores
from vilseg_train.evaluation_options import EvalOptions, Words, chosen_names
from vilseg_train.folder import check_target
from vilseg_train.progress import say, track
from vilseg_train.reporting import asked
from vilseg_train.score_tables import result_tables
from vilseg_train.segmenter_choice import open_segmenter

JOURNAL = ".journal"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is evaluated: a folder, a labelled set, and the options.

    Args:
        folder: a run, or what `segmenter` reads instead.
        data: name of the labelled set; `root`, `split` and `count` as in `build_labelled`.
        segmenter: a name that `open_segmenter` knows, or "package.module:Name".
    """

    folder: Path
    data: str
    root: Path | None = None
    split: str = "val"
    segmenter: str = "vilseg"
    count: int | None = None
    options: EvalOptions

    def labelled(self, split: str | None = None) -> LabelledSet:
        """The labelled set at its resolution; of another split with all its images."""
        dataset = build_labelled(
            self.data,
            root=self.root,
            split=split or self.split,
            count=self.count if split is None else None,
            unseen=self.options.unseen,
        )
        return at_resolution(dataset, self.options.seen_at())

    def open(
        self,
        dataset: LabelledSet,
        *,
        words: Sequence[str],
        templates: Sequence[str],
        console: Console,
    ) -> Segmenter:
        """The segmenter; warnings go to the console."""
        return open_segmenter(
            self.segmenter,
            self.folder,
            classes=dataset.classes,
            words=words,
            templates=templates,
            options=self.options.segmenter_options,
            device=self.options.device,
            warn=lambda text: say(console, f"warning: {text}"),
        )

    def about(self, segmenter: Segmenter) -> dict[str, Any]:
        """What a result records beside what the scorer knows."""
        model = getattr(segmenter, "model", None)
        return {
            "resolution": self.options.seen_at(),
            "weights_hash": None if model is None else weights_hash(model),
            "run": self.folder.name,
        }

    def journal(
        self, target: Path, *, dataset: LabelledSet, ranks: Ranks, more: Mapping[str, Any]
    ) -> Journal:
        """The journal of this evaluation; `more` is what its records depend on beside."""
        keys = image_keys(dataset) if hasattr(dataset, "keys") else []
        settings = {
            "data": [dataset.name, self.split, len(dataset), list_hash(keys)],
            "source": str(self.folder.resolve()),
            "segmenter": self.segmenter,
            "batch_size": self.options.batch_size,
            "unseen": list(dataset.classes.unseen),
            **more,
        }
        resume = self.options.resume
        return Journal(target / JOURNAL, settings=settings, resume=resume, rank=ranks.rank)


def evaluate_folder(
    folder: Path,
    *,
    data: str,
    console: Console,
    root: Path | None = None,
    split: str = "val",
    segmenter: str = "vilseg",
    templates: Sequence[str] = (),
    count: int | None = None,
    out: Path | None = None,
    options: EvalOptions | None = None,
    ranks: Ranks | None = None,
) -> EvalResult:
    """Score `folder` and write the scores, their matrices and a report (`evaluation_report`).

    Args:
        folder, data, root, split, segmenter, count: see `Subject`.
        console: where progress and the tables go.
        templates: template sets, files of them, or sentences; the paper's sentence by default.
        out: where to write; by default `eval/<data>` in `folder`, or `eval/<data>-<segmenter>`.
        options: everything else.
        ranks: the processes that share the images; the first one writes.

    Raises:
        ValueError: anything above cannot be used; nothing is written.
    """
    options, ranks = options or EvalOptions(), ranks or Alone()
    options.check()
    subject = Subject(
        folder=folder,
        data=data,
        root=root,
        split=split,
        segmenter=segmenter,
        count=count,
        options=options,
    )
    target = out or eval_folder(folder, data=data, segmenter=segmenter)
    check_target(target)
    dataset = opened(subject, console=console)
    rule = options.rule()
    ((set_name, sentences),) = options.template_sets(templates).items()
    ((label, names),) = chosen_names(options).items()
    named = Words.of(dataset.classes, names, data=dataset.name, rule=rule)
    chosen = subject.open(dataset, words=named.words, templates=sentences, console=console)
    if options.names and isinstance(chosen, PredictionFolder):
        raise ValueError(
            "--names: expected none with label maps, whose ids are the data set's own, came "
            f"{', '.join(options.names)}; leave it out"
        )
    # Label maps know background by its id, without a word.
    owners = named.word_classes[: len(chosen.words)]
    abstention = _calibrated(
        subject, chosen, dataset=dataset, rule=rule, ranks=ranks, console=console, owners=owners
    )
    sets = ClassSets.of(dataset.classes)
    about = subject.about(chosen) | {"name_set": label, "template_set": set_name}
    journal = subject.journal(
        target,
        dataset=dataset,
        ranks=ranks,
        more={
            "words": list(chosen.words),
            "classes": list(owners),
            "templates": list(sentences),
            "background": str(rule),
            "threshold": None if abstention is None else abstention.threshold,
            "custom": [options.candidates, options.score, options.outside],
            "inference": dict(getattr(chosen, "settings", {})),
            **about,
        },
    )
    if len(journal):
        say(console, f"going on after {len(journal)} batches that are done")
    result = score(
        chosen,
        dataset,
        split=split,
        console=console,
        batch_size=options.batch_size,
        background=rule,
        abstention=abstention,
        word_classes=[c for c in owners if c != sets.background],
        scoring=options.scoring(sets),
        about=about,
        journal=journal,
        ranks=ranks,
    )
    if ranks.rank == 0:
        shown = options.shown(result.results)
        pictured = ByClass(chosen, word_classes=owners, sets=sets)
        result = described(result, chosen, dataset, command=asked())
        write_evaluation(
            result, target=target, segmenter=pictured, dataset=dataset, subject=subject
        )
        if out is None:
            renew_scores(folder)
        for table in result_tables(result.results, protocols=shown):
            console.print(table)
        journal.discard()
        say(console, f"written to {target}")
    return result


def opened(subject: Subject, *, console: Console) -> LabelledSet:
    """The labelled set of an evaluation, with its notes to the user."""
    dataset = subject.labelled()
    inner = getattr(dataset, "dataset", dataset)
    if isinstance(inner, LabelledFiles):
        for note in inner.notes:
            say(console, f"note: {note}")
    return dataset


def write_evaluation(
    result: EvalResult,
    *,
    target: Path,
    segmenter: Segmenter,
    dataset: LabelledSet,
    subject: Subject,
) -> None:
    """Scores, tables and the page of one evaluation, all of them or none."""
    name = subject.segmenter
    reports = evaluation_report(
        {name: result}, {name: segmenter}, dataset, title=evaluation_title(result.results)
    )
    contents = {**result.files(), **reports}
    write_atomically({target / name: content for name, content in contents.items()})


def eval_folder(folder: Path, *, data: str, segmenter: str) -> Path:
    """Where the scores of a run on `data` go unless the user says otherwise."""
    ending = "" if segmenter == "vilseg" else f"-{segmenter.replace(':', '.')}"
    return folder / "eval" / f"{data}{ending}"


def score(
    segmenter: Segmenter,
    dataset: LabelledSet,
    *,
    split: str,
    console: Console,
    **options: Any,
) -> EvalResult:
    """`evaluate` with progress; `options` are those of `evaluate`."""
    with track(f"evaluating {segmenter.name}", console=console) as progress:
        return evaluate(segmenter, dataset, split=split, progress=progress, **options)


def _calibrated(
    subject: Subject,
    segmenter: Segmenter,
    *,
    dataset: LabelledSet,
    rule: BackgroundRule,
    ranks: Ranks,
    console: Console,
    owners: Sequence[int],
) -> Abstention | None:
    if rule.kind != "auto" or rule.split is None:
        return None
    if rule.split == subject.split:
        raise ValueError(
            f"--background: expected another split than the scored one, came auto:{rule.split}; "
            "a threshold chosen on the images that are scored flatters them"
        )
    other = subject.labelled(rule.split)
    with track(f"calibrating on {rule.split}", console=console) as progress:
        found = calibrate(
            segmenter,
            other,
            split=rule.split,
            scored=frozenset(image_keys(dataset)),
            batch_size=subject.options.batch_size,
            word_classes=owners,
            ranks=ranks,
            progress=progress,
        )
    say(console, f"background below {found.threshold:.4f}, chosen on {rule.split}")
    return found
