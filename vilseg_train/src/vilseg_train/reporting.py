"""Evaluated runs side by side: read what they left, group seeds, write a report."""

import json
import shlex
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from rich.console import Console

from vilseg_eval import load_result, paired_differences
from vilseg_eval.files import write_atomically
from vilseg_eval.report import ConfusionTable, Example, average, load_examples
from vilseg_eval.report.confusions import load_confusions
from vilseg_eval.report.examples import side_by_side
from vilseg_eval.report.output import PAGE_FILE, report_files
from vilseg_eval.report.subject import check_comparable, data_and_split
from vilseg_eval.results import MATRICES_FILE, RESULTS_FILE
from vilseg_train.folder import check_target
from vilseg_train.progress import say
from vilseg_train.tables import evaluation_tables

_NEEDED = ("segmenter", "data", "images", "names", "protocols", "chance")
_EVALUATIONS = "eval"
_AUDIT_FILE = "audit.json"
_COMMANDS = ("vilseg", "__main__.py")


@dataclass(frozen=True)
class Evaluation:
    """What a folder with `results.json` holds, under the label that a report gives it."""

    folder: Path
    label: str
    results: dict[str, Any]


def report_runs(
    runs: Sequence[Path],
    *,
    console: Console,
    out: Path | None = None,
    plots: bool = False,
    group: bool = False,
    title: str | None = None,
) -> Path:
    """Write the report of evaluated runs and print its tables; returns the page.

    Args:
        runs: folders with `results.json`, or runs, whose `eval/` is searched.
        console: where the tables go.
        out: where to write; `report` in the run if there is one, else in the working folder.
        plots: also every plot as PNG and SVG.
        group: the mean over runs whose `config.toml` differs in the seed alone as one column.
        title: heading of the page.

    Raises:
        ValueError: nothing is evaluated, or not on the same images; nothing is written.
    """
    target = out or (runs[0] / "report" if len(runs) == 1 else Path("report"))
    check_target(target)
    evaluations = open_evaluations(runs)
    single = {e.label: e.results for e in evaluations}
    check_comparable(single)
    groups = group_seeds(evaluations) if group else {e.label: [e] for e in evaluations}
    results = {label: average([e.results for e in members]) for label, members in groups.items()}
    on = data_and_split(evaluations[0].results)
    contents = report_files(
        results,
        title=title or f"{_subject(list(groups))} on {on}",
        examples=_examples(groups),
        confusions=_confusions(groups),
        audit=_audit(evaluations),
        paired=_paired(groups),
        plots=plots,
    )
    write_atomically({target / name: content for name, content in contents.items()})
    for table in evaluation_tables(results):
        console.print(table)
    page = target / PAGE_FILE
    say(console, f"report: {page.resolve()}")
    return page


def asked() -> str | None:
    """The command line that this process answers, without `--out` and `--resume`, which change no
    number; None where it is not the `vilseg` command."""
    if Path(sys.argv[0]).name not in _COMMANDS:
        return None
    kept = ["vilseg"]
    given = iter(sys.argv[1:])
    for argument in given:
        if argument == "--out":
            next(given, None)
        elif argument != "--resume" and not argument.startswith("--out="):
            kept.append(argument)
    return shlex.join(kept)


def open_evaluations(runs: Sequence[Path]) -> list[Evaluation]:
    """Every evaluation in `runs`, once, labelled by run, segmenter or folder, whatever tells them
    apart.

    Raises:
        ValueError: a run holds none, or its `results.json` is none.
    """
    folders = list(dict.fromkeys(folder for run in runs for folder in _find(run)))
    loaded = [_read(folder / RESULTS_FILE) for folder in folders]
    labels = _labels(folders, [str(results["segmenter"]) for results in loaded])
    return [Evaluation(*parts) for parts in zip(folders, labels, loaded, strict=True)]


def group_seeds(evaluations: Sequence[Evaluation]) -> dict[str, list[Evaluation]]:
    """Evaluations of one configuration but for the seed, made in the same way, by a label.

    Raises:
        ValueError: an evaluation lies in no run, so that its configuration is not known.
    """
    found: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        found.setdefault(_configuration(evaluation), []).append(evaluation)
    groups: dict[str, list[Evaluation]] = {}
    for members in found.values():
        label = _common([member.label for member in members])
        groups[label if label not in groups else members[0].label] = members
    return groups


def _find(run: Path) -> list[Path]:
    if (run / RESULTS_FILE).is_file():
        return [run]
    audited = (run / _AUDIT_FILE).is_file()
    searched = run if audited else run / _EVALUATIONS
    found = sorted(file.parent for file in searched.glob(f"*/{RESULTS_FILE}"))
    if not found:
        raise ValueError(
            f"RUN: expected {RESULTS_FILE} in {run} or in {run / _EVALUATIONS}/*, came none; "
            "run vilseg eval first"
        )
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"RUN: {path} cannot be read: {error}; evaluate again") from error
    missing = [key for key in _NEEDED if not isinstance(results, dict) or key not in results]
    if missing:
        raise ValueError(
            f"RUN: expected the results of an evaluation in {path}, came a file without "
            f"{', '.join(missing)}; evaluate again"
        )
    return dict(results)


def _run_of(folder: Path) -> Path:
    """The run that an evaluation lies in, or its own folder."""
    whole = folder.resolve()
    return whole.parent.parent if whole.parent.name == _EVALUATIONS else whole


def _labels(folders: Sequence[Path], segmenters: Sequence[str]) -> list[str]:
    runs = [_run_of(folder).name for folder in folders]
    pairs = list(zip(runs, segmenters, strict=True))
    candidates = (
        list(segmenters) if len(set(runs)) == 1 and len(runs) > 1 else runs,
        [f"{run} {segmenter}" for run, segmenter in pairs],
        [str(folder) for folder in folders],
    )
    return next(labels for labels in candidates if len(set(labels)) == len(folders))


def _configuration(evaluation: Evaluation) -> str:
    path = _run_of(evaluation.folder) / "config.toml"
    if not path.is_file():
        raise ValueError(
            f"--group: expected {path}, which says what a run was trained with, came none; "
            "give runs of vilseg train, or leave --group out"
        )
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--group: {path} cannot be read: {error}") from error
    config.pop("seed", None)
    how = {
        key: evaluation.results.get(key)
        for key in ("segmenter", "names", "templates", "background", "inference")
    }
    return json.dumps([config, how], sort_keys=True, default=str)


def _common(labels: Sequence[str]) -> str:
    """What the labels of a group begin with, without a number that was cut in two."""
    first, last = min(labels), max(labels)
    length = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b),
        min(len(first), len(last)),
    )
    start = first[:length] if len(labels) == 1 else first[:length].rstrip("0123456789")
    stem = start.rstrip(" -_./") or labels[0]
    return stem.removesuffix("seed").rstrip(" -_./") or stem


def _subject(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def _examples(groups: Mapping[str, Sequence[Evaluation]]) -> list[Example]:
    held = {label: load_examples(members[0].folder) for label, members in groups.items()}
    return side_by_side({label: examples for label, examples in held.items() if examples})


def _confusions(groups: Mapping[str, Sequence[Evaluation]]) -> dict[str, ConfusionTable]:
    tables: dict[str, ConfusionTable] = {}
    for label, members in groups.items():
        known = [t for member in members if (t := load_confusions(member.folder)) is not None]
        if known:
            tables[label] = reduce(add, known)
    return tables


def _paired(groups: Mapping[str, Sequence[Evaluation]]) -> dict[str, dict[str, dict[str, Any]]]:
    """How much better each single evaluation is than the first; nothing where one is a mean or
    lacks its matrices."""
    folders = {label: members[0].folder for label, members in groups.items()}
    alone = len(groups) > 1 and all(len(members) == 1 for members in groups.values())
    if not alone or not all((folder / MATRICES_FILE).is_file() for folder in folders.values()):
        return {}
    first, *others = map(load_result, folders.values())
    return {
        label: paired_differences(first, other)
        for label, other in zip(list(folders)[1:], others, strict=True)
    }


def _audit(evaluations: Sequence[Evaluation]) -> dict[str, Any] | None:
    """The words audit that all of the evaluations are parts of, if they are."""
    places = {evaluation.folder.parent for evaluation in evaluations}
    path = places.pop() / _AUDIT_FILE
    if places or not path.is_file():
        return None
    return dict(json.loads(path.read_text(encoding="utf-8")))
