"""Tables: what is a row, what is left out, what a machine reads back."""

from __future__ import annotations

import copy
import csv
import re
from io import StringIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.eval.report.cases import class_sets, random_counts, result

from vilseg_eval.report import (
    average,
    class_rows,
    classes_csv,
    markdown_report,
    markdown_table,
    protocols_csv,
    summary_rows,
)
from vilseg_eval.report.groups import differences
from vilseg_eval.report.numbers import Number, percent, protocol_rows

SETS = class_sets(5, unseen=2)
COUNTS = [random_counts(SETS, skill=skill, seed=i) for i, skill in enumerate((0.6, 0.4, 0.3))]


@pytest.fixture
def results() -> dict[str, Any]:
    return {"first": result(SETS, COUNTS[0]), "second <b>|": result(SETS, COUNTS[1])}


def test_every_protocol_has_rows_with_intervals_and_chance(results: dict[str, Any]) -> None:
    heading, rows = summary_rows(results)
    assert heading == ["protocol", "per cent", *results, "chance"]
    assert all(len(row) == len(heading) for row in rows)
    scores = results["first"]["protocols"]["all"]
    row = next(row for row in rows if row[:2] == ["all classes", "mIoU"])
    low, high = scores["interval"]["miou"]
    assert row[2] == f"{100 * scores['miou']:.1f} ({100 * low:.1f}\N{EN DASH}{100 * high:.1f})"
    assert row[-1] == f"{100 * results['first']['chance']['all']['miou']:.1f}"


def test_older_results_have_no_intervals() -> None:
    old = result(SETS, COUNTS[0], intervals=False)
    _, rows = summary_rows({"old": old})
    assert all(re.fullmatch(r"[\d.]+|\N{EN DASH}", cell) for row in rows for cell in row[2:])
    assert ",," in protocols_csv({"old": old})


def test_a_protocol_that_is_not_answered_keeps_one_row_of_dashes(results: dict[str, Any]) -> None:
    results["first"]["protocols"]["zlss"] = None
    row = next(row for row in summary_rows(results)[1] if "restricted" in row[0])
    assert row[2] == "\N{EN DASH}"
    assert row[3] != "\N{EN DASH}"
    assert "zlss" not in {r["protocol"] for r in _read(protocols_csv({"a": results["first"]}))}


def test_a_row_that_repeats_another_is_left_out(results: dict[str, Any]) -> None:
    # One unseen class has pixels: the mean over classes is the pooled recall.
    assert [row.measure for row in protocol_rows(results, "gzlss")] == ["miou", "overall"]
    assert [row.measure for row in protocol_rows(results, "all")] == [
        "miou", "overall", "unseen_recall", "class_mean",
    ]  # fmt: skip


def test_every_class_has_a_row_absent_ones_too(results: dict[str, Any]) -> None:
    heading, rows = class_rows(results)
    assert heading == ["class", *results, "chance"]
    assert [row[0] for row in rows] == ["class 0", "class 1", "class 2", "class 3*", "class 4*"]
    assert rows[4][-1] == "\N{EN DASH}"
    _, restricted = class_rows(results, protocol="zlss")
    assert [row[0] for row in restricted] == ["class 3*", "class 4*"]
    with pytest.raises(ValueError, match="protocol: expected one of"):
        class_rows(results, protocol="other")


def test_markdown_tables_keep_their_cells_apart(results: dict[str, Any]) -> None:
    lines = markdown_table(*summary_rows(results)).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {6}
    assert "class 4*" in markdown_report(results)


def _read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text)))


def _float(cell: str) -> float | None:
    return float(cell) if cell else None


@given(st.data())
def test_csv_gives_back_every_number_exactly(data: st.DataObject) -> None:
    found = copy.deepcopy(result(SETS, COUNTS[2]))
    fractions = st.none() | st.floats(0, 1)
    for scores in found["protocols"].values():
        scores["miou"] = data.draw(fractions)
        for name in scores["iou"]:
            scores["iou"][name] = data.draw(fractions)
    for row in _read(protocols_csv({'a "run", named': found})):
        assert row["run"] == 'a "run", named'
        scores = found["protocols"][row["protocol"]]
        part, interval, chance = (
            s if row["measure"] == "miou" else s["accuracy"]
            for s in (scores, scores["interval"], found["chance"][row["protocol"]])
        )
        assert _float(row["value"]) == part[row["measure"]]
        ends = interval[row["measure"]] or (None, None)
        assert (_float(row["low"]), _float(row["high"])) == tuple(ends)
        assert _float(row["chance"]) == chance[row["measure"]]
    rows = _read(classes_csv({"a": found}))
    assert len(rows) == sum(len(s["iou"]) for s in found["protocols"].values())
    for row in rows:
        assert _float(row["iou"]) == found["protocols"][row["protocol"]]["iou"][row["class"]]
        assert row["unseen"] == str(int(row["class"] in ("class 3", "class 4")))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"split": "train"}, "the split is 'val' and 'train'"),
        ({"data": "coco"}, "the data is 'voc' and 'coco'"),
        ({"images": 3}, "the number of images is 100 and 3"),
        ({"list_hash": "b"}, "the list of images has the hash 'a' and 'b'"),
        ({"resolution": "warp513"}, "the resolution is 'native' and 'warp513'"),
    ],
)
def test_results_of_different_data_are_not_put_side_by_side(
    change: dict[str, Any], named: str
) -> None:
    one = result(SETS, COUNTS[0], list_hash="a", resolution="native")
    other = one | change
    with pytest.raises(ValueError, match=f"'one' and 'other' of the same data.*{named}"):
        summary_rows({"one": one, "other": other})
    older = {k: v for k, v in one.items() if k not in ("list_hash", "resolution")}
    assert summary_rows({"one": one, "older": older})


def test_other_classes_or_masks_are_not_put_side_by_side() -> None:
    one = result(SETS, COUNTS[0])
    renamed = class_sets(5, unseen=2, names=["a", "b", "c", "d", "e"])
    with pytest.raises(ValueError, match=r"the classes are 'class 0'.* and 'a', 'b'"):
        summary_rows({"one": one, "other": result(renamed, COUNTS[0])})
    split = class_sets(5, unseen=1)
    with pytest.raises(ValueError, match="unseen classes are 'class 3', 'class 4' and 'class 4'"):
        summary_rows({"one": one, "other": result(split, COUNTS[0])})
    more = COUNTS[0].copy()
    more[1, 2] += 5000
    with pytest.raises(ValueError, match="the masks hold one share of each class and another"):
        summary_rows({"one": one, "other": result(SETS, more)})
    with pytest.raises(ValueError, match="results: expected at least one, came none"):
        summary_rows({})


def test_a_mean_over_seeds_has_the_spread_of_one_run() -> None:
    every = [result(SETS, counts) for counts in COUNTS]
    mean = average(every)
    values = [r["protocols"]["gzlss"]["miou"] for r in every]
    scores = mean["protocols"]["gzlss"]
    assert scores["miou"] == pytest.approx(np.mean(values))
    assert scores["spread"]["miou"] == pytest.approx(np.std(values, ddof=1))
    assert (scores["interval"], scores["runs"], mean["runs"]) == (None, 3, 3)
    assert mean["chance"] == every[0]["chance"]
    shown = next(row for row in summary_rows({"three": mean})[1])
    assert shown[2] == (
        f"{percent(scores['miou'])} (± {100 * float(np.std(values, ddof=1)):.1f} (3))"
    )
    assert average(every[:1]) == every[0]
    every[1]["protocols"]["zlss"] = None
    assert average(every)["protocols"]["zlss"] is None
    every[1]["protocols"]["all"]["iou"]["class 0"] = None
    others = [every[i]["protocols"]["all"]["iou"]["class 0"] for i in (0, 2)]
    assert average(every)["protocols"]["all"]["iou"]["class 0"] == pytest.approx(np.mean(others))


def test_differences_are_to_the_first_result(results: dict[str, Any]) -> None:
    found = differences(results, protocol="all", measure="miou")
    first, second = (r["protocols"]["all"]["miou"] for r in results.values())
    assert found == {"second <b>|": Number(second - first)}
    results["first"]["protocols"]["all"] = None
    assert differences(results, protocol="all", measure="miou") == {"second <b>|": Number(None)}
