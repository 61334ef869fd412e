"""The same images under several ways of naming the classes: a table of mIoU and its spread."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from vilseg_eval import ClassSets
from vilseg_eval.audit import Cell, audit, audit_summary
from vilseg_eval.files import write_atomically
from vilseg_eval.passes import Alone, Ranks
from vilseg_eval.report import markdown_report, markdown_table
from vilseg_eval.report.numbers import percent
from vilseg_eval.segmenters.model import ModelSegmenter
from vilseg_train.evaluation import Subject, eval_folder, opened
from vilseg_train.evaluation_options import Words, chosen_names
from vilseg_train.folder import check_target
from vilseg_train.progress import say, track
from vilseg_train.score_tables import audit_table


def is_audit(subject: Subject, templates: Sequence[str]) -> bool:
    """Whether several name or template sets are asked for."""
    options = subject.options
    return len(chosen_names(options)) * len(options.template_sets(templates)) > 1


def audit_folder(
    subject: Subject,
    *,
    console: Console,
    templates: Sequence[str] = (),
    out: Path | None = None,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Score every name set with every template set, each image encoded once.

    Writes `audit.json` and `audit.md`, and beside them a folder `<names>-<templates>` with
    `results.json`, `confusion.npz`, `images.csv` and `table.md` each. Returns what `audit.json`
    holds.

    Args:
        subject: what is evaluated.
        templates: template sets, files of them, or sentences.
        out: where to write; by default `eval/<data>-words` in the folder of the subject.

    Raises:
        ValueError: anything above cannot be used; nothing is written.
    """
    options, ranks = subject.options, ranks or Alone()
    options.check()
    plain = eval_folder(subject.folder, data=subject.data, segmenter=subject.segmenter)
    target = out or plain.with_name(f"{plain.name}-words")
    check_target(target)
    dataset = opened(subject, console=console)
    rule, sets = options.rule(), ClassSets.of(dataset.classes)
    cells = []
    for label, names in chosen_names(options).items():
        named = Words.of(dataset.classes, names, data=dataset.name, rule=rule)
        cells += [
            Cell(
                names=label,
                template_set=set_name,
                words=named.words,
                word_classes=named.word_classes,
                templates=sentences,
            )
            for set_name, sentences in options.template_sets(templates).items()
        ]
    first = cells[0]
    base = subject.open(dataset, words=first.words, templates=first.templates, console=console)
    if not isinstance(base, ModelSegmenter):
        raise ValueError(
            f"--names, --templates: several sets need a segmenter of a run, {subject.segmenter!r} "
            "is none; evaluate one set at a time"
        )
    rows = [base.with_words(c.words, templates=c.templates).word_embeddings for c in cells]
    labels = [f"{word} [{cell.label}]" for cell in cells for word in cell.words]
    segmenter = base.with_embeddings(labels, torch.cat(rows))
    about = subject.about(base)
    journal = subject.journal(
        target,
        dataset=dataset,
        ranks=ranks,
        more={
            "audit": [[c.label, c.words, c.word_classes, c.templates] for c in cells],
            "background": str(rule),
            "custom": [options.candidates, options.score, options.outside],
            "inference": dict(base.settings),
            **about,
        },
    )
    with track(f"evaluating {len(cells)} ways of naming", console=console) as progress:
        grid = audit(
            segmenter,
            dataset,
            cells,
            split=subject.split,
            batch_size=options.batch_size,
            background=rule,
            scoring=options.scoring(sets),
            about=about,
            journal=journal,
            ranks=ranks,
            progress=progress,
        )
    summary = audit_summary(grid)
    if ranks.rank == 0:
        contents = {
            target / "audit.json": json.dumps(summary, indent=2, ensure_ascii=False).encode(),
            target / "audit.md": audit_markdown(summary).encode(),
        }
        for cell in cells:
            result = grid[cell.names, cell.template_set]
            files = result.files() | {
                "table.md": markdown_report({cell.label: result.results}).encode()
            }
            contents |= {target / cell.label / name: text for name, text in files.items()}
        write_atomically(contents)
        first_result = next(iter(grid.values())).results
        for protocol in options.shown(first_result):
            console.print(audit_table(summary, protocol=protocol))
        journal.discard()
        say(console, f"written to {target}")
    return summary


def audit_markdown(summary: dict[str, Any]) -> str:
    """A table of every protocol: a row a name set, a column a template set, in per cent."""
    parts = []
    for protocol, found in summary["protocols"].items():
        rows = [
            [names, *map(percent, values)]
            for names, values in zip(summary["names"], found["miou"], strict=True)
        ]
        table = markdown_table(["names", *summary["templates"]], rows)
        apart = f"spread {percent(found['spread'])}, deviation {percent(found['deviation'])}"
        parts.append(f"{protocol}, mIoU, per cent: {apart}\n\n{table}\n")
    return "\n".join(parts)
