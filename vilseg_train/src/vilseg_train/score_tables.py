"""One evaluation on a terminal: every protocol in a row, every class, every way of naming."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from vilseg_eval.report import class_rows
from vilseg_eval.report.numbers import UNDEFINED, percent
from vilseg_train.tables import titled_table

_ACCURACIES = {
    "unseen recall": "unseen_recall",
    "pixel accuracy": "overall",
    "class accuracy": "class_mean",
}


def result_tables(result: Mapping[str, Any], *, protocols: Sequence[str]) -> list[Table]:
    """IoU of every class, then the scores of `protocols`, in per cent."""
    classes = class_rows({result["segmenter"]: result})
    return [
        titled_table("IoU, per cent (* unseen)", *classes),
        protocol_table(result, protocols=protocols),
    ]


def protocol_table(result: Mapping[str, Any], *, protocols: Sequence[str]) -> Table:
    """A row a protocol: mIoU with its interval and chance beside, and the three accuracies."""
    bootstrap = result["bootstrap"]
    within = [] if bootstrap is None else [f"{100 * bootstrap['level']:g} % interval"]
    heading = ["", "mIoU", *within, "chance", *_ACCURACIES]
    rows = []
    for name in protocols:
        scored, chance = result["protocols"][name], result["chance"][name]
        accuracies = {} if scored is None else scored["accuracy"]
        rows.append(
            [
                name,
                percent(None if scored is None else scored["miou"]),
                *(_range(scored) for _ in within),
                percent(chance["miou"]),
                *(percent(accuracies.get(key)) for key in _ACCURACIES.values()),
            ]
        )
    title = f"{result['images']} images, background {result['background']}, per cent"
    return titled_table(title, heading, rows)


def audit_table(summary: Mapping[str, Any], *, protocol: str) -> Table:
    """mIoU of every name set (rows) with every template set (columns), in per cent."""
    found = summary["protocols"][protocol]
    rows = [
        [names, *map(percent, values)]
        for names, values in zip(summary["names"], found["miou"], strict=True)
    ]
    apart = f"spread {percent(found['spread'])}, deviation {percent(found['deviation'])}"
    return titled_table(
        f"{protocol}, mIoU, per cent: {apart}", ["names", *summary["templates"]], rows
    )


def _range(scored: Mapping[str, Any] | None) -> str:
    interval = None if scored is None or scored["interval"] is None else scored["interval"]["miou"]
    if interval is None:
        return UNDEFINED
    return " to ".join(percent(end) for end in interval)
