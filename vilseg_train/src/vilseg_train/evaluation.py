"""Evaluate a run, or a folder of label maps, on a labelled set; leave scores and a report."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vilseg_data import BrokenSampleError, LabelledSet, build_labelled
from vilseg_data.labelled import LabelledFiles
from vilseg_eval import EvalResult, Segmenter, evaluate
from vilseg_eval.files import write_atomically
from vilseg_eval.prompts import PHOTO_TEMPLATE
from vilseg_eval.report import described, evaluation_report
from vilseg_train.folder import check_target
from vilseg_train.progress import say, track
from vilseg_train.reporting import asked
from vilseg_train.segmenter_choice import open_segmenter
from vilseg_train.tables import evaluation_tables


def evaluate_folder(
    folder: Path,
    *,
    data: str,
    console: Console,
    root: Path | None = None,
    split: str = "val",
    segmenter: str = "vilseg",
    templates: Sequence[str] = (PHOTO_TEMPLATE,),
    count: int | None = None,
    out: Path | None = None,
) -> EvalResult:
    """Score `folder` and write the scores, their matrices and a report (`evaluation_report`).

    Args:
        folder: a run, or with segmenter "predictions" a folder of label maps.
        data: name of the labelled set; `root`, `split` and `count` as in `build_labelled`.
        console: where progress and the tables go.
        segmenter: a name that `open_segmenter` knows, or "package.module:Name".
        templates: sentences around each class name.
        out: where to write; by default `eval/<data>` in `folder`, or `eval/<data>-<segmenter>`.

    Raises:
        ValueError: anything above cannot be used; nothing is written.
    """
    target = out or eval_folder(folder, data=data, segmenter=segmenter)
    check_target(target)
    dataset = build_labelled(data, root=root, split=split, count=count)
    if isinstance(dataset, LabelledFiles):
        for note in dataset.notes:
            say(console, f"note: {note}")
    chosen = open_segmenter(
        segmenter,
        folder,
        classes=dataset.classes,
        templates=templates,
        warn=lambda text: say(console, f"warning: {text}"),
    )
    result = score(chosen, dataset, split=split, console=console)
    result = described(result, chosen, dataset, command=asked())
    title = f"{folder.name} on {data} {split}"
    reports = evaluation_report({segmenter: result}, {segmenter: chosen}, dataset, title=title)
    contents = {**result.files(), **reports}
    write_atomically({target / name: content for name, content in contents.items()})
    for table in evaluation_tables({segmenter: result.results}):
        console.print(table)
    say(console, f"written to {target}")
    return result


def eval_folder(folder: Path, *, data: str, segmenter: str) -> Path:
    """Where the scores of a run on `data` go unless the user says otherwise."""
    ending = "" if segmenter == "vilseg" else f"-{segmenter.replace(':', '.')}"
    return folder / "eval" / f"{data}{ending}"


def score(
    segmenter: Segmenter, dataset: LabelledSet, *, split: str, console: Console
) -> EvalResult:
    """`evaluate` with progress; a broken image or mask is a `ValueError` that names it."""
    try:
        with track(f"evaluating {segmenter.name}", console=console) as progress:
            return evaluate(segmenter, dataset, split=split, progress=progress)
    except BrokenSampleError as error:
        raise ValueError(str(error)) from error
