"""`vilseg eval`: parse, build, call."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

_REPEAT = "may be repeated"


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(help="A run; with predictions, a folder of label maps.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Labelled set: world, voc, context, coco-stuff, folder, ...")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the labelled set.")] = None,
    split: Annotated[str, typer.Option(help="Split of the labelled set.")] = "val",
    segmenter: Annotated[
        str, typer.Option(help="vilseg, kmeans, patch, predictions, ... or package.module:Name.")
    ] = "vilseg",
    segmenter_options: Annotated[
        list[str] | None,
        typer.Option(
            "--segmenter-option", metavar="KEY=VALUE", help=f"E.g. window=224; {_REPEAT}."
        ),
    ] = None,
    protocols: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol",
            metavar="NAME",
            help="Protocol to show, or a published preset (vilseg-table1, spnet, zs3, ovs, ...); "
            f"{_REPEAT}. All are computed and saved, and shown by default.",
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="ignore (default), class, words:LIST, threshold:T or auto:SPLIT; all but ignore "
            "add protocols in which background is a class.",
        ),
    ] = None,
    absent: Annotated[
        str | None,
        typer.Option(help="A class in neither masks nor predictions: skip (default), zero, error."),
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option(help="Of a protocol of your own: all, seen, unseen or a file of classes."),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(help="Its scored classes: all, seen, unseen, each or a file of classes."),
    ] = None,
    outside: Annotated[
        str | None,
        typer.Option(help="Its pixels of other classes: fp (a class there is wrong) or ignore."),
    ] = None,
    resolution: Annotated[
        str | None, typer.Option(help="native (default) or warp513: images and masks warped.")
    ] = None,
    unseen: Annotated[
        str | None, typer.Option(help="Zero-shot split of the set: vilseg, spnet, zs3-10, ...")
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Words of the classes: dataset, groupvit, maskclip, sclip or a file; {_REPEAT}: "
            "several give a table."
        ),
    ] = None,
    templates: Annotated[
        list[str] | None,
        typer.Option(
            help="Sentences around them: single, simple, sub7, clip80, maskclip85, a file, or a "
            f"sentence with {{}}; {_REPEAT}: several sets give a table."
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(help="Images to use; all by default.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 8,
    replicates: Annotated[
        int | None,
        typer.Option(min=0, help="Bootstrap draws for intervals (1000); 0 for none."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Where to write; RUN/eval/DATA by default.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the same evaluation, interrupted.")
    ] = False,
    rescore: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Score a saved evaluation again, without model and images; instead of RUN.",
        ),
    ] = None,
) -> None:
    """Score a run on images with masks: every protocol, every class, and a report."""
    from vilseg_train.evaluation_options import EvalOptions
    from vilseg_train.parallel import processes
    from vilseg_train.segmenter_choice import parse_options

    options = EvalOptions(
        protocols=tuple(protocols or ()),
        background=background,
        absent=absent,
        resolution=resolution,
        candidates=candidates,
        score=score,
        outside=outside,
        names=tuple(names or ()),
        unseen=unseen,
        batch_size=batch_size,
        replicates=1000 if replicates is None else replicates,
        segmenter_options=parse_options(segmenter_options or []),
        device=device,
        resume=resume,
    )
    if rescore is not None:
        given: dict[str, object] = {
            "RUN": run,
            "--data": data,
            "--background": background,
            "--out": out,
            "--names": names,
            "--templates": templates,
            "--resolution": resolution,
        }
        _rescore(rescore, options, given=given, intervals=replicates is not None)
        return
    if run is None or data is None:
        raise ValueError(
            "expected a run and --data, or --rescore FOLDER; for instance "
            "vilseg eval runs/world --data world"
        )
    with processes() as ranks:
        console = _console(quiet=not ranks.leads)
        _evaluate(
            run,
            options,
            subject={
                "data": data,
                "root": root,
                "split": split,
                "segmenter": segmenter,
                "count": count,
            },
            common={
                "templates": tuple(templates or ()),
                "out": out,
                "ranks": ranks,
                "console": console,
            },
        )


def _evaluate(run: Path, options: Any, *, subject: Any, common: Any) -> None:
    from vilseg_train.evaluation import Subject, evaluate_folder
    from vilseg_train.word_audit import audit_folder, is_audit

    asked = Subject(folder=run, options=options, **subject)
    if is_audit(asked, common["templates"]):
        audit_folder(asked, **common)
    else:
        evaluate_folder(run, options=options, **subject, **common)


def _rescore(folder: Path, options: Any, *, given: dict[str, object], intervals: bool) -> None:
    from vilseg_train.rescoring import rescore_folder

    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise ValueError(
            f"--rescore: expected no {', '.join(wrong)} beside, since it reads the matrices of a "
            "saved evaluation alone; leave out one or the other"
        )
    rescore_folder(folder, console=_console(), options=options, intervals=intervals)


def _console(*, quiet: bool = False) -> "Console":
    from rich.console import Console

    return Console(quiet=quiet)
