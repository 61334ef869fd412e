"""Pictures: overlays, legends, colours, plots, photos of examples."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from PIL import Image
from tests.eval.report.cases import class_sets, confusion_table, random_counts, result

from vilseg_eval.report import (
    ClusterUsage,
    class_bars,
    colours,
    heat_map,
    overlay,
    png,
    risk_plot,
    svg,
    tint,
    usage_bars,
)
from vilseg_eval.report.pictures import shares
from vilseg_eval.report.theme import LIGHT
from vilseg_eval.report.vision import distances


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
    many = colours(256)
    assert len({tuple(colour) for colour in many.tolist()}) == 256
    assert np.array_equal(colours(300)[256:], many[:44])
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


@given(st.integers(2, 12))
def test_colours_are_apart_for_red_and_green_blind_eyes(count: int) -> None:
    apart = distances(colours(count))[np.triu_indices(count, 1)]
    # Twice what is told apart without effort (about 10 in CIELAB) for a dozen.
    assert apart.min() > 18


def test_equal_colours_are_no_distance_apart_and_black_is_100_from_white() -> None:
    apart = distances(np.array([[0, 0, 0], [255, 255, 255], [0, 0, 0]], dtype=np.uint8))
    assert apart[0, 2] == 0
    assert apart[0, 1] == pytest.approx(100, abs=0.1)
    red, green = [200, 80, 0], [120, 120, 0]
    common = np.linalg.norm(np.subtract(red, green))
    assert common > 80
    assert distances(np.array([red, green], dtype=np.uint8))[0, 1] < 30


def test_bars_show_every_class_best_first_and_unseen_classes_apart() -> None:
    sets = class_sets(6, unseen=2)
    found = result(sets, random_counts(sets, skill=0.6, seed=0))
    (axes,) = class_bars({"one": found}).axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    iou = found["protocols"]["all"]["iou"]
    assert sorted(names[:2]) == ["class 4", "class 5"]
    assert sorted(names[2:]) == [f"class {i}" for i in range(4)]
    for group in (names[:2], names[2:]):
        values = [iou[name] or 0 for name in group]
        assert values == sorted(values, reverse=True)
    bars = [bar for bar in axes.patches if isinstance(bar, Rectangle)]
    assert [bar.get_width() for bar in bars] == pytest.approx([100 * (iou[n] or 0) for n in names])
    assert {bar.get_facecolor()[:3] for bar in bars} == {to_rgb(LIGHT.hue(0))}
    heights = [bar.get_y() for bar in bars]
    assert heights == sorted(heights)
    assert [text.get_text().strip() for text in axes.texts] == ["unseen classes", "seen classes"]


@pytest.mark.parametrize(("count", "unseen"), [(1, 0), (1, 1), (2, 0), (171, 15)])
def test_plots_take_any_number_of_classes(count: int, unseen: int) -> None:
    sets = class_sets(count, unseen=unseen)
    counts = random_counts(sets, skill=0.5, seed=1)
    picture = Image.open(BytesIO(png(heat_map(confusion_table(sets, counts)))))
    assert 200 < min(picture.size) <= max(picture.size) < 1500
    (axes,) = class_bars({"one": result(sets, counts)}).axes
    assert len(axes.get_yticks()) == count


def test_the_heat_map_holds_the_shares_of_the_rows_in_the_order_of_its_labels() -> None:
    sets = class_sets(5, unseen=2)
    counts = random_counts(sets, skill=0.5, seed=2)
    table = confusion_table(sets, counts)
    axes = heat_map(table).axes[0]
    (image,) = axes.images
    shown = np.asarray(image.get_array())
    foreground = counts[1:, [*range(1, 6), 6]]
    np.testing.assert_allclose(shown[:4], 100 * foreground[:4] / foreground[:4].sum(1)[:, None])
    assert np.ma.getmaskarray(np.ma.masked_invalid(shown[4])).all()
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        "class 0", "class 1", "class 2", "class 3*", "class 4*",
    ]  # fmt: skip
    assert axes.get_xticklabels()[-1].get_text() == "none"


@pytest.mark.parametrize("name", ["$x^2$", "$", "a\nb", "猫", "x" * 300, "100 %", "<&>"])
def test_any_name_is_drawn_as_it_stands(name: str) -> None:
    sets = class_sets(2, names=[name, "other"])
    counts = random_counts(sets, skill=0.5, seed=0)
    for figure in (
        class_bars({name: result(sets, counts)}),
        heat_map(confusion_table(sets, counts)),
        risk_plot({name: {"coverage": [0.5, 1], "risk": [0.1, None]}}),
    ):
        assert png(figure).startswith(b"\x89PNG")


def test_plots_of_the_same_numbers_are_the_same_bytes() -> None:
    usage = ClusterUsage((5, 0, 3), 2)
    assert png(usage_bars(usage)) == png(usage_bars(usage))
    assert svg(usage_bars(usage)) == svg(usage_bars(usage))
    assert png(usage_bars(usage)) != png(usage_bars(usage, dark=True))
    text = svg(usage_bars(usage)).decode()
    assert "<script" not in text
    assert 'href="http' not in text
