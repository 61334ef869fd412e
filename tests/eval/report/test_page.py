"""The page: whole, escaped, self-contained, and holding every number that it claims."""

from __future__ import annotations

import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.eval.report.cases import (
    class_sets,
    confusion_table,
    examples,
    random_counts,
    result,
)

from vilseg_eval.report import (
    ClusterUsage,
    ConfusionTable,
    Example,
    html_page,
    placed,
    report_files,
    write_page,
)
from vilseg_eval.report.numbers import numbers_of, percent
from vilseg_eval.report.score_table import signed

SETS = class_sets(5, unseen=2)
COUNTS = random_counts(SETS, skill=0.6, seed=0)
OTHER = random_counts(SETS, skill=0.4, seed=1)
HOSTILE = "</td></style><script>alert(1)</script>\"'&"
AUDIT = {
    "names": ["dataset", "groupvit"],
    "templates": ["single", "clip80"],
    "protocols": {
        "all": {
            "miou": [[0.301, 0.31], [0.33, None]],
            "lowest": 0.301,
            "highest": 0.33,
            "spread": 0.029,
        }
    },
}


class _Page(HTMLParser):
    """Checks that tags close, and collects text, ids, and everything that could be fetched."""

    void = frozenset({"meta", "img", "source", "br", "link", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.alts: list[str | None] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.void:
            self.open.append(tag)
        found = dict(attrs)
        self.references += [
            found[name] or ""
            for name in ("src", "srcset", "href", "data", "action")
            if name in found
        ]
        if "id" in found:
            self.ids.append(found["id"] or "")
        if tag == "img":
            self.alts.append(found.get("alt"))
        assert not any(name.startswith("on") for name in found)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


def _full(**about: Any) -> dict[str, Any]:
    usage = ClusterUsage((50, 30, 0), 7)
    return {
        "first": result(
            SETS,
            COUNTS,
            clusters=usage.facts(),
            risk_coverage={"threshold": [0, 1], "coverage": [1, 0.5], "risk": [0.4, 0.1]},
            bootstrap={"replicates": 1000, "level": 0.95, "seed": 0},
            list_hash="ab" * 32,
            weights_hash="cd" * 32,
            command="vilseg eval runs/a --data voc",
            **about,
        ),
        "second": result(SETS, OTHER),
    }


def _page(results: dict[str, Any], **options: Any) -> _Page:
    return _Page(html_page(results, title="t", **options))


def test_the_page_is_whole_and_fetches_nothing(tmp_path: Path) -> None:
    results = _full()
    page = html_page(
        results,
        title="A title",
        examples=examples(list(results), words=5),
        confusions={"first": confusion_table(SETS, COUNTS)},
        audit=AUDIT,
        introduction="Some words.",
    )
    parsed = _Page(page)
    assert not {"script", "link", "iframe", "object", "form"} & set(parsed.tags)
    anchors = [uri for uri in parsed.references if uri.startswith("#")]
    assert [anchor[1:] for anchor in anchors] == parsed.ids
    assert parsed.ids == [
        "scores", "classes", "confusions", "images", "clusters", "abstention", "words", "made",
    ]  # fmt: skip
    others = [uri for uri in parsed.references if not uri.startswith("#")]
    assert len(others) == 2 * 4 + 2 * 3
    assert all(re.match(r"data:image/(png|jpeg);base64,", uri) for uri in others)
    assert "http" not in re.sub(r"http-equiv|base64,[^\"]*", "", page)
    assert "url(" not in page
    assert "@import" not in page
    assert all(parsed.alts)
    assert "default-src 'none'" in page
    written = write_page(tmp_path / "new" / "report.html", page)
    assert written.read_text(encoding="utf-8") == page


def test_the_page_holds_every_number_with_its_interval_and_chance() -> None:
    results = _full()
    parsed = _page(results, audit=AUDIT)
    for found in results.values():
        for protocol, _, _, number in numbers_of(found):
            if protocol == "all":
                assert percent(number.value) in parsed.text
            if number.interval is not None and protocol == "all":
                assert number.around() in parsed.text
        for scores in found["chance"].values():
            assert percent(scores["miou"]) in parsed.text
    more = (
        results["second"]["protocols"]["all"]["miou"] - results["first"]["protocols"]["all"]["miou"]
    )
    assert signed(more) in parsed.text
    for text in (
        "30.1", "1,000 resamplings", "ab" * 32, "cd" * 32, "vilseg eval runs/a --data voc",
        "2 of 3 clusters win pixels", "a photo of a {}", "vilseg-eval 0.1.0",
    ):  # fmt: skip
        assert text in parsed.text


@given(st.text(min_size=1, max_size=30))
@settings(max_examples=5)
def test_hostile_names_are_text(name: str) -> None:
    names = [HOSTILE, name + "0", "b" * 200, "c", "d"]
    sets = class_sets(5, unseen=2, names=names)
    results = {HOSTILE: result(sets, COUNTS, data=HOSTILE, command=HOSTILE, templates=[HOSTILE])}
    pictures = [
        Example(e.key + HOSTILE, e.image, e.maps) for e in examples([HOSTILE], words=5, count=1)
    ]
    page = html_page(results, title=HOSTILE, introduction=HOSTILE, examples=pictures)
    parsed = _Page(page)
    assert "script" not in parsed.tags
    assert parsed.tags.count("style") == 1
    assert HOSTILE in parsed.text
    assert "b" * 200 in parsed.text


@pytest.mark.parametrize(("count", "unseen"), [(1, 0), (1, 1), (171, 15)])
def test_any_number_of_classes_has_a_page(count: int, unseen: int) -> None:
    sets = class_sets(count, unseen=unseen)
    counts = random_counts(sets, skill=0.5, seed=0)
    page = html_page({"a": result(sets, counts)}, title="t")
    parsed = _Page(page)
    assert all(f"class {i}" in parsed.text for i in range(count))
    assert ("Unseen classes" in parsed.text) == (unseen > 0)
    assert len(page) < 400_000


def test_what_is_missing_is_left_out() -> None:
    old = result(SETS, COUNTS, intervals=False)
    old["protocols"]["zlss"] = None
    parsed = _page({"old": old})
    assert parsed.ids == ["scores", "classes", "made"]
    assert "resamplings" not in parsed.text
    with pytest.raises(ValueError, match="results: expected at least one"):
        html_page({}, title="t")


def test_confusions_are_named_largest_first() -> None:
    counts = np.zeros((4, 5), dtype=np.int64)
    counts[1] = [0, 70, 23, 0, 7]
    counts[2] = [0, 500, 490, 10, 0]
    counts[3, 3] = 1000
    sets = class_sets(3, unseen=1, names=["dog", "cat", "cow"])
    table = ConfusionTable.of(counts, sets=sets)
    assert [str(found) for found in table.largest()] == [
        "cat taken for dog 50.0 %",
        "dog taken for cat 23.0 %",
        "dog taken for nothing asked for 7.0 %",
        "cat taken for cow 1.0 %",
    ]
    assert len(table.largest(2)) == 2
    assert table.names == ("dog", "cat", "cow")
    assert table.seen == 2
    assert ((table + table).shares == table.shares).all()
    parsed = _page({"a": result(sets, counts)}, confusions={"a": table})
    assert "dog taken for cat 23.0 %" in parsed.text


def test_unseen_classes_stand_after_seen_ones_in_a_table_of_confusions() -> None:
    sets = class_sets(3, names=["a", "b", "c"])
    turned = type(sets)(sets.names, (1,), 0)
    table = ConfusionTable.of(np.arange(20).reshape(4, 5), sets=turned)
    assert table.names == ("b", "c", "a")
    assert table.counts.tolist() == [[12, 13, 11, 14], [17, 18, 16, 19], [7, 8, 6, 9]]


def test_the_same_results_give_the_same_bytes() -> None:
    results = _full()
    options: dict[str, Any] = {
        "title": "t",
        "examples": examples(list(results), words=5),
        "confusions": {"first": confusion_table(SETS, COUNTS)},
    }
    first, second = (report_files(results, **options, plots=plots) for plots in (False, True))
    assert first.items() <= second.items()
    assert set(second) == {
        "report.html", "table.md", "protocols.csv", "classes.csv",
        *(
            f"plots/{name}.{kind}"
            for name in ("classes", "confusions-first", "clusters-first", "risk")
            for kind in ("png", "svg")
        ),
    }  # fmt: skip


def _pictures(page: str) -> list[Image.Image]:
    encoded = re.findall(r'<img src="data:image/(?:png|jpeg);base64,([^"]+)" width', page)
    return [Image.open(BytesIO(b64decode(content))) for content in encoded]


def test_pictures_are_bounded_and_small_ones_exact() -> None:
    big = Example("big", torch.randint(0, 256, (3, 700, 900), dtype=torch.uint8), {
        "ground truth": torch.zeros(700, 900, dtype=torch.int64),
        "first": torch.zeros(700, 900, dtype=torch.int64),
    })  # fmt: skip
    results = {"first": result(SETS, COUNTS)}
    found = _pictures(html_page(results, title="t", examples=[big]))
    assert [picture.size for picture in found] == [(480, 373)] * 3
    [small] = examples(["first"], words=5, count=1)
    photo, *_ = _pictures(html_page(results, title="t", examples=[small]))
    assert photo.size == (5 * 32, 5 * 24)
    shown = np.asarray(photo)[::5, ::5]
    assert np.array_equal(shown, small.image.permute(1, 2, 0).numpy())
    many = [Example(str(i), small.image, small.maps) for i in range(25)]
    page = html_page(results, title="t", examples=many)
    assert len(_pictures(page)) == 60


def test_examples_say_why_they_are_shown_and_how_they_scored() -> None:
    results = {"first": result(SETS, COUNTS)}
    shown = placed(
        examples(["first"], words=5, count=3),
        places={"best": ["image 2"], "worst": ["image 0"]},
        scores={"first": {"image 2": 0.876, "image 0": None}},
    )
    assert [e.key for e in shown] == ["image 2", "image 0", "image 1"]
    assert [e.place for e in shown] == ["best", "worst", ""]
    text = _page(results, examples=shown).text
    assert text.index("best image 2") < text.index("worst image 0")
    assert "first · 87.6" in text
