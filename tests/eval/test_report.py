"""Tables, pictures, bars and the page."""

from __future__ import annotations

import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import Rectangle
from PIL import Image
from tests.eval.fakes import MemorySet, ScoreSegmenter, class_list

from vilseg_eval import evaluate
from vilseg_eval.report import (
    class_bars,
    class_rows,
    collect_examples,
    colours,
    html_page,
    markdown_report,
    markdown_table,
    overlay,
    png,
    summary_rows,
    tint,
    write_page,
)
from vilseg_eval.report.pictures import shares

CLASSES = class_list(5, unseen=(2, 4), background=0)


@pytest.fixture
def dataset() -> MemorySet:
    rng = np.random.default_rng(0)
    maps = [torch.from_numpy(rng.choice([0, 1, 2, 3, 255], (8, 9 + i))) for i in range(5)]
    return MemorySet(CLASSES, maps)


@pytest.fixture
def segmenters(dataset: MemorySet) -> dict[str, ScoreSegmenter]:
    generator = torch.Generator().manual_seed(0)
    return {
        title: ScoreSegmenter(
            CLASSES,
            {
                f"image{i}": torch.rand(4, *m.shape, generator=generator)
                for i, m in enumerate(dataset.maps)
            },
        )
        for title in ("first", "second <b>|")
    }


@pytest.fixture
def results(dataset: MemorySet, segmenters: dict[str, ScoreSegmenter]) -> dict[str, Any]:
    return {title: evaluate(s, dataset).results for title, s in segmenters.items()}


def test_the_summary_has_a_row_for_each_segmenter_and_chance(results: dict[str, Any]) -> None:
    heading, rows = summary_rows(results)
    assert [row[0] for row in rows] == [*results, "chance"]
    assert all(len(row) == len(heading) for row in rows)
    miou = results["first"]["protocols"]["all"]["miou"]
    assert rows[0][heading.index("all mIoU")] == f"{100 * miou:.1f}"
    results["first"]["protocols"]["zlss"] = None
    assert summary_rows(results)[1][0][heading.index("restricted mIoU")] == "\N{EN DASH}"


def test_every_class_has_a_row_absent_ones_too(results: dict[str, Any]) -> None:
    heading, rows = class_rows(results)
    assert heading == ["class", *results, "chance"]
    assert [row[0] for row in rows] == ["class1", "class2*", "class3", "class4*"]
    assert rows[3][-1] == "\N{EN DASH}"
    assert rows[3][1] == "0.0"
    _, restricted = class_rows(results, protocol="zlss")
    assert [row[0] for row in restricted] == ["class2*", "class4*"]
    with pytest.raises(ValueError, match="protocol: expected one of"):
        class_rows(results, protocol="other")


def test_markdown_tables_keep_their_cells_apart(results: dict[str, Any]) -> None:
    lines = markdown_table(*summary_rows(results)).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {9}
    assert "class4*" in markdown_report(results)


def test_results_of_different_data_are_not_put_side_by_side(
    results: dict[str, Any], dataset: MemorySet, segmenters: dict[str, ScoreSegmenter]
) -> None:
    shorter = MemorySet(CLASSES, dataset.maps[:2])
    results["other"] = evaluate(segmenters["first"], shorter).results
    with pytest.raises(ValueError, match="'first' and 'other' are not of the same data"):
        summary_rows(results)
    with pytest.raises(ValueError, match="results: expected at least one, got none"):
        summary_rows({})


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_the_picture_keeps_its_size_and_its_untinted_pixels(
    height: int, width: int, scale: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(-1, 3, (height, width)))
    picture = tint(image, labels, palette=colours(3), scale=scale)
    assert picture.size == (scale * width, scale * height)
    drawn = overlay(image, labels, ["dog", "a long name of a thing", "猫"], scale=scale)
    assert np.array_equal(np.asarray(drawn)[: scale * height, : scale * width], np.asarray(picture))
    assert drawn.height >= picture.height
    plain = tint(image, torch.full((height, width), -1), palette=colours(3))
    assert np.array_equal(np.asarray(plain), image.permute(1, 2, 0).numpy())
    whole = tint(image, torch.full((height, width), 1), palette=colours(3), alpha=1.0)
    assert (np.asarray(whole) == colours(3)[1]).all()


def test_legends_name_what_is_there_by_area() -> None:
    image = torch.zeros(3, 40, 400, dtype=torch.uint8)
    labels = torch.zeros(40, 400, dtype=torch.int64)
    assert shares(labels, words=2) == [1.0, 0.0]
    one = overlay(image, labels, ["dog", "cat"])
    labels[:, 100:] = 1
    two = overlay(image, labels, ["dog", "cat"])
    assert one.width == two.width == 400
    legend = np.asarray(two)[40:]
    first, second = (np.argwhere((legend == colour).all(-1)) for colour in colours(2)[[1, 0]])
    assert len(first) > 50
    assert len(second) > 50
    assert first[:, 1].max() < second[:, 1].min()
    assert not (np.asarray(one)[40:] == colours(2)[1]).all(-1).any()
    labels[0, 0] = 2
    specks = np.asarray(overlay(image, labels, ["dog", "cat", "fly"]))[40:]
    assert not (specks == colours(3)[2]).all(-1).any()
    assert (
        specks != np.pad(legend, ((0, specks.shape[0] - legend.shape[0]), (0, 0), (0, 0)))
    ).any()


def test_colours_differ_and_do_not_depend_on_how_many_there_are() -> None:
    many = colours(60)
    assert len({tuple(colour) for colour in many.tolist()}) == 60
    assert np.array_equal(many[:5], colours(5))
    assert colours(0).shape == (0, 3)


def test_pictures_refuse_what_does_not_fit() -> None:
    image = torch.zeros(3, 4, 5, dtype=torch.uint8)
    labels = torch.zeros(4, 5, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"labels: expected the image's size \(4, 5\)"):
        overlay(image, labels.T, ["dog"])
    with pytest.raises(ValueError, match="labels: expected indices into 1 words, got 3"):
        overlay(image, labels + 3, ["dog"])
    with pytest.raises(ValueError, match=r"labels: expected integers \(h, w\)"):
        overlay(image, labels.float(), ["dog"])
    with pytest.raises(ValueError, match=r"image: expected uint8 \(3, h, w\)"):
        overlay(image.float(), labels, ["dog"])
    with pytest.raises(ValueError, match="scale: expected a whole number from 1"):
        overlay(image, labels, ["dog"], scale=0)


def test_bars_show_every_class_and_leave_no_global_state(results: dict[str, Any]) -> None:
    figure = class_bars(results)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "class1",
        "class2*",
        "class3",
        "class4*",
    ]
    iou = results["first"]["protocols"]["all"]["iou"]
    bars = [bar for bar in axes.patches if isinstance(bar, Rectangle)]
    widths = [bar.get_width() for bar in bars[:4]]
    assert widths == pytest.approx([100 * (iou[f"class{i}"] or 0) for i in (1, 2, 3, 4)])
    assert png(class_bars(results, dark=True)).startswith(b"\x89PNG")


def test_examples_hold_the_truth_and_every_answer(
    dataset: MemorySet, segmenters: dict[str, ScoreSegmenter]
) -> None:
    examples = collect_examples(segmenters, dataset, count=3)
    assert [example.key for example in examples] == ["image0", "image1", "image3"]
    assert len(collect_examples(segmenters, dataset, count=99)) == 5
    for example in examples:
        assert list(example.maps) == ["ground truth", *segmenters]
        truth = dataset.maps[int(example.key[-1])]
        expected = torch.where((truth == 0) | (truth == 255), -1, truth - 1)
        assert torch.equal(example.maps["ground truth"], expected)
        answer = segmenters["first"].scores[example.key].argmax(0)
        assert torch.equal(example.maps["first"], answer)
    with pytest.raises(ValueError, match="count: expected at least 1"):
        collect_examples(segmenters, dataset, count=0)
    with pytest.raises(ValueError, match="dataset: memory holds no images"):
        collect_examples(segmenters, MemorySet(CLASSES, []))


class _Page(HTMLParser):
    """Checks that tags close, and collects text and everything that could be fetched."""

    void = frozenset({"meta", "img", "source", "br", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.void:
            self.open.append(tag)
        self.references += [
            value or ""
            for name, value in attrs
            if name in ("src", "srcset", "href", "data", "action")
        ]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_escaped_and_fetches_nothing(
    tmp_path: Path,
    results: dict[str, Any],
    dataset: MemorySet,
    segmenters: dict[str, ScoreSegmenter],
) -> None:
    page = html_page(
        results,
        title="A & <script>alert(1)</script>",
        examples=collect_examples(segmenters, dataset, count=2),
        introduction="<i>words</i>",
    )
    parsed = _Page()
    parsed.feed(page)
    parsed.close()
    assert parsed.open == []
    assert not {"script", "link", "iframe", "i>", "b>"} & set(parsed.tags)
    assert len(parsed.references) == 2 + 2 * 4
    assert all(uri.startswith("data:image/png;base64,") for uri in parsed.references)
    assert "http" not in re.sub(r"http-equiv|base64,[^\"]*", "", page)
    assert "url(" not in page
    assert "@import" not in page
    for text in ("A & <script>", "<i>words</i>", "second <b>|", "class4*", "word 3", "image2"):
        assert text in parsed.text
    written = write_page(tmp_path / "new" / "report.html", page)
    assert written.read_text(encoding="utf-8") == page


def test_large_photos_are_reduced_in_the_page(results: dict[str, Any], tmp_path: Path) -> None:
    big = MemorySet(CLASSES, [torch.ones(700, 900, dtype=torch.int64)])
    scores = ScoreSegmenter(CLASSES, {"image0": torch.rand(4, 3, 3)})
    page = html_page(results, title="t", examples=collect_examples({"s": scores}, big, count=1))
    encoded = re.findall(r'<img class="[a-z]+" src="data:image/png;base64,([^"]+)"', page)
    assert len(encoded) == 3
    for number, content in enumerate(encoded):
        path = tmp_path / f"{number}.png"
        path.write_bytes(b64decode(content))
        with Image.open(path) as picture:
            assert picture.size == (480, 373)
