"""The paper's claims: judged on what was scored, and on nothing else."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vilseg_train.reproduce.claims import CLAIMS, Above, Inside, verdict_rows, verdicts
from vilseg_train.reproduce.plan import STUDIES, Row
from vilseg_train.reproduce.summary import Line

SCORES = st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3)


def line(key: str, *scores: float) -> Line:
    row = Row(key=key, title=f"title of {key}", variant="full")
    return Line(row=row, miou=scores, accuracy=scores, iou={}, steps=1, parameters=1, rate=1.0)


def lines(**scores: list[float]) -> dict[str, Line]:
    return {key: line(key, *values) for key, values in scores.items()}


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_is_about_rows_of_its_study(name: str) -> None:
    keys = {row.key for row in STUDIES[name].rows}
    for claim in CLAIMS[name]:
        named = claim.rows if isinstance(claim, Inside) else (claim.row, *claim.others)
        assert set(named) <= keys
    assert len({claim.text for claim in CLAIMS[name]}) == len(CLAIMS[name])


@pytest.mark.parametrize("name", CLAIMS)
def test_all_are_judged_where_all_was_scored_and_none_where_nothing_was(name: str) -> None:
    scored = [line(row.key, 0.4, 0.5) for row in STUDIES[name].rows]
    assert [v.claim for v in verdicts(name, scored)] == [claim.text for claim in CLAIMS[name]]
    assert verdicts(name, []) == []
    assert verdicts("generalisation", scored) == []


@given(SCORES, SCORES, SCORES, st.sampled_from([0.6, 1.0, 1.25]))
def test_a_ratio_is_to_the_best_of_the_others(
    a: list[float], b: list[float], c: list[float], times: float
) -> None:
    claim = Above(text="", row="a", others=("b", "c"), times=times)
    found = claim.judged(lines(a=a, b=b, c=c))
    assert found is not None
    best = max(b, c, key=statistics.fmean)
    mine, other = statistics.fmean(a), statistics.fmean(best)
    assert found.holds == (mine > other if times == 1 else mine >= times * other)
    assert found.found == f"{mine / other:.2f} times"
    won = [x > y if times == 1 else x >= times * y for x, y in zip(a, best, strict=True)]
    assert found.seeds == f"{sum(won)} of 3"


@given(SCORES, SCORES, st.sampled_from([1.0, 2.0]))
def test_deviations_are_those_of_both_rows(a: list[float], b: list[float], asked: float) -> None:
    claim = Above(text="", row="a", others=("b",), deviations=asked)
    found = claim.judged(lines(a=a, b=b))
    assert found is not None
    pooled = math.sqrt((statistics.variance(a) + statistics.variance(b)) / 2)
    difference = statistics.fmean(a) - statistics.fmean(b)
    assert found.holds == (difference > asked * pooled)
    assert found.seeds == f"{sum(x > y for x, y in zip(a, b, strict=True))} of 3"


def test_one_seed_has_no_deviation() -> None:
    claim = Above(text="", row="a", others=("b",), deviations=2)
    found = claim.judged(lines(a=[0.4], b=[0.1]))
    assert found is not None
    assert found.holds is None
    assert verdict_rows([found])[0][2:] == ["30.0 points", "1 of 1", "one seed cannot say"]


def test_equal_rows_are_not_above_one_another() -> None:
    found = Above(text="", row="a", others=("b",)).judged(lines(a=[0.3, 0.4], b=[0.3, 0.4]))
    assert found is not None
    assert (found.holds, found.found, found.seeds) == (False, "1.00 times", "0 of 2")
    by_spread = Above(text="", row="a", others=("b",), deviations=2)
    found = by_spread.judged(lines(a=[0.3, 0.3], b=[0.3, 0.3]))
    assert found is not None
    assert found.holds is False


@given(st.lists(SCORES, min_size=3, max_size=6))
def test_the_best_of_a_sweep_is_inside_or_at_an_end(scores: list[list[float]]) -> None:
    keys = [f"c{number}" for number in range(len(scores))]
    swept = lines(**dict(zip(keys, scores, strict=True)))
    found = Inside(text="", rows=tuple(keys)).judged(swept)
    assert found is not None
    means = [statistics.fmean(values) for values in scores]
    best = means.index(max(means))
    assert found.found == f"title of {keys[best]}"
    assert found.holds == (0 < best < len(scores) - 1)


def test_what_was_not_scored_is_not_judged() -> None:
    scored = lines(a=[0.3], b=[0.2])
    assert Above(text="", row="a", others=("b", "c")).judged(scored) is None
    assert Above(text="", row="c", others=("a",)).judged(scored) is None
    assert Inside(text="", rows=("a", "b", "c")).judged(scored) is None
