"""Score a saved evaluation again from its matrices: no model, no images, no masks."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from vilseg_eval.files import write_atomically
from vilseg_eval.presets import absent_rule, custom_protocols
from vilseg_eval.report.output import table_files
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
    """Print the scores and write `results.json`, `confusion.npz`, `images.csv` and `table.md`
    again; with no other options than they were made with, the same bytes.

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
    results = {result.results["segmenter"]: result.results}
    tables = result_tables(result.results, protocols=options.shown(result.results))
    contents = {**result.files(), **table_files(results)}
    write_atomically({folder / name: content for name, content in contents.items()})
    for table in tables:
        console.print(table)
    say(console, f"scored again from {folder / 'confusion.npz'}")
    return result
