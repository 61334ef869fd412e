"""Sums over seeds: means, deviations and ratios are those of the scores that came in."""

import json
import statistics
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vilseg_train.reproduce.figures import study_figure
from vilseg_train.reproduce.plan import STUDIES, Study
from vilseg_train.reproduce.summary import (
    commands_markdown,
    study_json,
    study_lines,
    study_markdown,
)
from vilseg_train.reproduce.variants import VARIANTS

SHARES = st.floats(0.01, 1.0)
COMMANDS = {name: f"vilseg reproduce x --only {name} --seeds 1" for name in VARIANTS}


def scored(miou: float, *, missing: bool = False) -> dict[str, Any]:
    protocol = {
        "miou": miou,
        "accuracy": {"unseen_recall": miou / 2, "overall": miou / 3, "class_mean": None},
        "iou": {"grass": miou, "ball": None if missing else miou / 4},
    }
    protocols = dict.fromkeys(("gzlss", "all"), protocol)
    return {
        "protocols": protocols,
        "chance": protocols,
        "parameters": 10,
        "steps": 5,
        "images_per_second": 7.0,
    }


def scores_of(study: Study, values: list[float]) -> dict[str, list[dict[str, Any]]]:
    return {
        row.key: [scored(value / (number + 1), missing=number == 0) for value in values]
        for number, row in enumerate(study.rows)
    }


@given(st.sampled_from(list(STUDIES)), st.lists(SHARES, min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_means_and_deviations(name: str, values: list[float]) -> None:
    study = STUDIES[name]
    lines = study_lines(study, scores_of(study, values))
    assert [line.row for line in lines] == list(study.rows)
    for number, line in enumerate(lines):
        expected = [value / (number + 1) for value in values]
        assert line.mean == pytest.approx(statistics.fmean(expected))
        assert (line.deviation is None) == (len(values) == 1)
        if line.deviation is not None:
            assert line.deviation == pytest.approx(statistics.stdev(expected), abs=1e-12)
        assert ("ball" in line.iou) == (number > 0)
    document = study_json(study, lines, chance=0.02, commands=COMMANDS)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    ceiling = next((line.mean for line in lines if line.row.segmenter == "probe"), None)
    for row, line in zip(document["rows"], lines, strict=True):
        assert row["command"] == COMMANDS[line.row.variant]
        share = row["share_of_ceiling"]
        assert share is None if ceiling is None else share == pytest.approx(line.mean / ceiling)


@pytest.mark.parametrize("name", STUDIES)
def test_the_table_names_every_row_and_its_seeds(name: str) -> None:
    study = STUDIES[name]
    lines = study_lines(study, scores_of(study, [0.4, 0.5]))
    text = study_markdown(study, lines, chance=0.0235, command="vilseg reproduce x")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert len(table) == 2 + len(study.rows) + 1
    for row, cells in zip(study.rows, table[2:], strict=False):
        assert row.title in cells
    assert "40.0, 50.0" in table[2]
    assert "45.0 ± 7.1" in table[2]
    assert "2.4" in table[-1] or "2.3" in table[-1]


@pytest.mark.parametrize("name", STUDIES)
def test_every_row_stands_at_its_command(name: str) -> None:
    study = STUDIES[name]
    variants = dict.fromkeys(row.variant for row in study.rows)
    lines = commands_markdown(study, {v: COMMANDS[v] for v in variants}).splitlines()
    assert len(lines) == len(variants)
    for variant, line in zip(variants, lines, strict=True):
        titles = [row.title for row in study.rows if row.variant == variant]
        assert line == f"* `{COMMANDS[variant]}`: {'; '.join(titles)}"


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("values", [[0.4], [0.4, 0.5, 0.45]])
def test_every_study_has_a_picture(name: str, values: list[float]) -> None:
    study = STUDIES[name]
    lines = study_lines(study, scores_of(study, values))
    with Image.open(BytesIO(study_figure(study, lines, chance=0.02))) as picture:
        assert picture.format == "PNG"
        assert picture.width == (1200 if name in ("fig5", "fig6") else 1500)
