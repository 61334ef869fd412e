"""The paper's tables and figures, rerun: trained, scored and summed up over seeds."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from vilseg_eval.files import write_atomically
from vilseg_eval.report import markdown_table
from vilseg_train.config import load_config
from vilseg_train.progress import say
from vilseg_train.reproduce.claims import VERDICT_HEADING, verdict_rows, verdicts
from vilseg_train.reproduce.figures import study_figure
from vilseg_train.reproduce.job import RUN, SCORES, Job
from vilseg_train.reproduce.plan import Study, chosen_studies, reading_only, rows_by_variant
from vilseg_train.reproduce.scheduler import run_jobs
from vilseg_train.reproduce.summary import (
    commands_markdown,
    study_json,
    study_lines,
    study_markdown,
)
from vilseg_train.reproduce.variants import VARIANTS
from vilseg_train.tables import study_table, titled_table

_MARK = "reproduce.json"
_SCENES = "scenes"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all runs of a folder share.

    Attributes:
        preset: a preset on one of the built-in worlds, or a TOML file of one.
        overrides: changes to it, for every variant.
        images: labelled scenes to score on.
    """

    preset: str = "world"
    overrides: tuple[str, ...] = ()
    images: int = 400

    def command(self, study: str, *, seeds: int, only: Sequence[str]) -> str:
        """What runs a study, or of it what is trained as `only` says."""
        words = ["vilseg", "reproduce", study, "--preset", self.preset]
        words += [word for override in self.overrides for word in ("--set", override)]
        words += ["--only", ",".join(only)] if only else []
        return shlex.join([*words, "--seeds", str(seeds), "--images", str(self.images)])


def reproduce(
    name: str,
    *,
    out: Path,
    setting: Setting | None = None,
    seeds: int = 3,
    only: Sequence[str] = (),
    at_once: int | None = None,
    console: Console,
) -> list[Path]:
    """Train and score what a study needs; write `<study>.md`, `.json` and `.png` into `out`.

    What `out` holds already is not done again: the same command goes on after a stop, and another
    study uses the runs that it shares.

    Args:
        name: table1, table2, fig5, fig6, generalisation or all.
        seeds: 0 ... seeds - 1 of each variant.
        only: variants to train; the rows that read others are left out. All by default.
        at_once: runs at a time; as many as there are cores by default, one thread each.

    Raises:
        ValueError: the study, the preset or the folder cannot be used.
        StudyEnded: a run ended before its last step.
    """
    setting = setting or Setting()
    studies = chosen_studies(name)
    if only:
        studies = reading_only(studies, only)
    if seeds < 1:
        raise ValueError(f"seeds: expected at least 1, came {seeds}; ask for one or more")
    config = load_config(setting.preset, overrides=setting.overrides)
    if config.data.kind != "world":
        raise ValueError(
            f"--preset: expected one on a built-in world, which has masks to score on, came "
            f"data.kind {config.data.kind!r}; take world"
        )
    _claim(out, setting)
    jobs = study_jobs(studies, out=out, setting=setting, seeds=seeds)
    run_jobs(jobs, at_once=at_once or os.cpu_count() or 1, console=console)
    scores = _collect(jobs)
    written = []
    for study in studies:
        written += _write(study, scores, out=out, setting=setting, only=only, console=console)
    return written


def study_jobs(studies: Sequence[Study], *, out: Path, setting: Setting, seeds: int) -> list[Job]:
    """One job for every variant and seed, a seed's variants together."""
    wanted = rows_by_variant(list(studies))
    return [
        Job(
            folder=str(_folder(out, variant, seed)),
            preset=setting.preset,
            overrides=setting.overrides,
            variant=variant,
            parent=_parent(out, variant, seed),
            scenes=str(out / _SCENES),
            seed=seed,
            rows=tuple(rows),
            images=setting.images,
        )
        for seed in range(seeds)
        for variant, rows in wanted.items()
    ]


def _folder(out: Path, variant: str, seed: int) -> Path:
    return out / variant / f"seed-{seed}"


def _parent(out: Path, variant: str, seed: int) -> str | None:
    parent = VARIANTS[variant].parent
    return None if parent is None else str(_folder(out, parent, seed) / RUN)


def _claim(out: Path, setting: Setting) -> None:
    """Say in `out` what its runs share, and refuse others."""
    path = out / _MARK
    wanted = {
        "preset": setting.preset,
        "overrides": list(setting.overrides),
        "images": setting.images,
    }
    if not path.is_file():
        write_atomically({path: (json.dumps(wanted, indent=2) + "\n").encode()})
        return
    found = json.loads(path.read_text("utf-8"))
    for key, value in wanted.items():
        if found.get(key) != value:
            raise ValueError(
                f"--out: {out} was begun with {key} {found.get(key)!r}, came {value!r}; go on with "
                "what it has, or take another folder"
            )


def _collect(jobs: Sequence[Job]) -> dict[str, list[Mapping[str, Any]]]:
    """Row -> its scores by seed."""
    scores: dict[str, list[Mapping[str, Any]]] = {}
    for job in jobs:
        of_job = json.loads((Path(job.folder) / SCORES).read_text("utf-8"))
        for row in job.rows:
            scores.setdefault(row.key, []).append(of_job[row.key])
    return scores


def _write(
    study: Study,
    scores: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    out: Path,
    setting: Setting,
    only: Sequence[str],
    console: Console,
) -> list[Path]:
    lines = study_lines(study, scores)
    chance = scores[study.rows[0].key][0]["chance"][study.protocol]["miou"]

    def command(only: Sequence[str]) -> str:
        return setting.command(study.name, seeds=len(lines[0].miou), only=only)

    alone = {row.variant: command([row.variant]) for row in study.rows}
    judged = verdicts(study.name, lines)
    document = study_json(study, lines, chance=chance, commands=alone)
    document["claims"] = [asdict(verdict) for verdict in judged]
    text = study_markdown(study, lines, chance=chance, command=command(only))
    rows = verdict_rows(judged)
    if rows:
        text += f"\n{markdown_table(VERDICT_HEADING, rows, text_columns=5)}\n"
    text += (
        f"\nRows alone, with the runs that they start from:\n\n{commands_markdown(study, alone)}\n"
    )
    contents = {
        out / f"{study.name}.json": f"{json.dumps(document, indent=1, allow_nan=False)}\n".encode(),
        out / f"{study.name}.md": text.encode(),
        out / f"{study.name}.png": study_figure(study, lines, chance=chance),
    }
    write_atomically(contents)
    console.print(study_table(study.title, lines, chance=chance))
    if rows:
        console.print(titled_table("The paper's claims", VERDICT_HEADING, rows))
    say(console, f"written to {out / study.name}.md, .json, .png")
    return list(contents)
