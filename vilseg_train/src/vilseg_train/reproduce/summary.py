"""Scores of several seeds into one table: mean, standard deviation, ratios, the paper beside."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vilseg_eval.report import markdown_table
from vilseg_eval.report.numbers import UNDEFINED
from vilseg_train.reproduce.plan import Row, Study

CHANCE = "random labelling (floor)"
_CEILING = "probe"
CEILINGS = (_CEILING, "truth")  # segmenters that see masks


@dataclass(frozen=True)
class Line:
    """A row with its scores over the seeds, fractions.

    Attributes:
        miou: of each seed, in order.
        accuracy: of each seed: recall of unseen pixels for `gzlss`, else of all.
        iou: by class, the mean over the seeds that have it.
        steps: that were trained.
        parameters: of the model.
        rate: images a second of processor time, the mean over the seeds.
    """

    row: Row
    miou: tuple[float, ...]
    accuracy: tuple[float, ...]
    iou: Mapping[str, float]
    steps: int
    parameters: int
    rate: float

    @property
    def mean(self) -> float:
        return statistics.fmean(self.miou)

    @property
    def deviation(self) -> float | None:
        """The sample's standard deviation; None of one seed."""
        return statistics.stdev(self.miou) if len(self.miou) > 1 else None


def study_lines(study: Study, scores: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Line]:
    """The lines of a study.

    scores: row -> what `score_row` gave for each seed.
    """
    measure = "unseen_recall" if study.protocol == "gzlss" else "overall"
    lines = []
    for row in study.rows:
        seeds = scores[row.key]
        protocols = [seed["protocols"][study.protocol] for seed in seeds]
        classes = protocols[0]["iou"]
        lines.append(
            Line(
                row=row,
                miou=tuple(protocol["miou"] for protocol in protocols),
                accuracy=tuple(protocol["accuracy"][measure] for protocol in protocols),
                iou={
                    name: statistics.fmean(defined)
                    for name in classes
                    if (
                        defined := [p["iou"][name] for p in protocols if p["iou"][name] is not None]
                    )
                },
                steps=seeds[0]["steps"],
                parameters=seeds[0]["parameters"],
                rate=statistics.fmean(seed["images_per_second"] for seed in seeds),
            )
        )
    return lines


def study_json(
    study: Study, lines: Sequence[Line], *, chance: float, commands: Mapping[str, str]
) -> dict[str, Any]:
    """What `<study>.json` holds: fractions, by row, with ratios to the first row's mean and the
    share of the supervised ceiling where the study has one.

    commands: variant -> what trains it alone and scores its rows.
    """
    ceiling = next((line.mean for line in lines if line.row.segmenter == _CEILING), None)
    return {
        "study": study.name,
        "title": study.title,
        "protocol": study.protocol,
        "seeds": len(lines[0].miou),
        "chance": chance,
        "rows": [
            {
                "key": line.row.key,
                "title": line.row.title,
                "variant": line.row.variant,
                "command": commands[line.row.variant],
                "segmenter": line.row.segmenter,
                "steps": line.steps,
                "parameters": line.parameters,
                "images_per_second": line.rate,
                "miou": list(line.miou),
                "mean": line.mean,
                "deviation": line.deviation,
                "accuracy": list(line.accuracy),
                "share_of_ceiling": None if ceiling is None else line.mean / ceiling,
                "iou": dict(line.iou),
                "paper": dict(line.row.paper),
            }
            for line in lines
        ],
    }


def study_markdown(study: Study, lines: Sequence[Line], *, chance: float, command: str) -> str:
    """The table to read, per cent, under its command."""
    ceiling = next((line.mean for line in lines if line.row.segmenter == _CEILING), None)
    first = lines[0].mean
    heading = ["", "mIoU", "seeds", "pixel accuracy", "first row / this"]
    if ceiling is not None:
        heading.append("share of ceiling")
    heading += ["steps", "parameters", "images/s", "paper: VOC, Context, COCO-Stuff"]
    rows = []
    for line in lines:
        spread = "" if line.deviation is None else f" ± {100 * line.deviation:.1f}"
        cells = [
            line.row.title,
            f"{100 * line.mean:.1f}{spread}",
            ", ".join(f"{100 * value:.1f}" for value in line.miou),
            f"{100 * statistics.fmean(line.accuracy):.1f}",
            f"{first / line.mean:.2f}" if line.mean else UNDEFINED,
        ]
        if ceiling is not None:
            cells.append(f"{100 * line.mean / ceiling:.0f} %")
        cells += [f"{line.steps:,}", f"{line.parameters:,}", f"{line.rate:.0f}", _paper(line.row)]
        rows.append(cells)
    rows.append([CHANCE, f"{100 * chance:.1f}", *[""] * (len(heading) - 2)])
    return f"# {study.title}\n\n`{command}`\n\n{markdown_table(heading, rows)}\n"


def commands_markdown(study: Study, commands: Mapping[str, str]) -> str:
    """A line for each variant: what trains it alone, with the runs that it starts from, and the
    rows that it gives.

    commands: by variant.
    """
    return "\n".join(
        f"* `{command}`: {'; '.join(row.title for row in study.rows if row.variant == variant)}"
        for variant, command in commands.items()
    )


def _paper(row: Row) -> str:
    sets = ("voc", "context", "coco-stuff")
    values = [row.paper.get(f"{name}.miou") for name in sets]
    return ", ".join(UNDEFINED if value is None else f"{value:.2f}" for value in values)
