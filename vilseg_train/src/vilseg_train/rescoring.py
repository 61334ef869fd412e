"""Score a saved evaluation again from its matrices: no model, no images, no masks."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from vilseg_eval.files import write_atomically
from vilseg_eval.presets import absent_rule, custom_protocols
from vilseg_eval.report import ConfusionTable, load_examples
from vilseg_eval.report.output import PAGE_FILE, report_files, table_files
from vilseg_eval.report.subject import evaluation_title
from vilseg_eval.results import EvalResult, load_result
from vilseg_train.evaluation_options import EvalOptions
from vilseg_train.progress import say
from vilseg_train.score_tables import result_tables


def rescore_folder(
    folder: Path,
    *,
    console: Console,
    options: EvalOptions,
    intervals: bool = False,
) -> EvalResult:
    """Print the scores and write the files of the evaluation again, its page where there is one;
    with no other options than they were made with, the same bytes.

    Args:
        options: protocols to show, absent rule, a protocol of one's own; None and empty leave
            what was saved.
        intervals: whether the bootstrap of `options` replaces the saved one.

    Raises:
        ValueError: no evaluation there, or one that lacks what is asked for; nothing is written.
    """
    saved = load_result(folder)
    extra = custom_protocols(
        candidates=options.candidates,
        score=options.score,
        outside=options.outside,
        background=saved.about["background"] != "ignore",
        sets=saved.sets,
    )
    scoring = replace(
        saved.scoring,
        absent=saved.scoring.absent if options.absent is None else absent_rule(options.absent),
        bootstrap=options.bootstrap() if intervals else saved.scoring.bootstrap,
        extra=extra or saved.scoring.extra,
    )
    result = saved if scoring == saved.scoring else saved.rescored(scoring)
    tables = result_tables(result.results, protocols=options.shown(result.results))
    contents = {**result.files(), **_report(folder, result)}
    write_atomically({folder / name: content for name, content in contents.items()})
    for table in tables:
        console.print(table)
    say(console, f"scored again from {folder / 'confusion.npz'}")
    return result


def _report(folder: Path, result: EvalResult) -> dict[str, bytes]:
    """The tables, and the page if the folder has one."""
    label = result.results["segmenter"]
    results = {label: result.results}
    if not (folder / PAGE_FILE).is_file():
        return table_files(results)
    return report_files(
        results,
        title=evaluation_title(result.results),
        examples=load_examples(folder),
        confusions={label: ConfusionTable.of_evaluation(result)},
    )
