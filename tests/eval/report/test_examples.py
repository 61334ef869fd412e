"""Examples: which, with what, kept and brought back, side by side."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.eval.fakes import MemorySet, ScoreSegmenter, class_list
from tests.eval.report.cases import examples

from vilseg_eval.report import (
    EXAMPLES_FILE,
    ClusterUsage,
    Example,
    cluster_usage,
    collect_examples,
    examples_bytes,
    load_examples,
)
from vilseg_eval.report.examples import LARGEST_SIDE, chosen, reduced, reduced_map, side_by_side

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
        for title in ("first", "second")
    }


def test_examples_hold_the_truth_and_every_answer(
    dataset: MemorySet, segmenters: dict[str, ScoreSegmenter]
) -> None:
    shown = collect_examples(segmenters, dataset, count=3)
    assert [example.key for example in shown] == ["image0", "image1", "image3"]
    assert len(collect_examples(segmenters, dataset, count=99)) == 5
    for example in shown:
        assert list(example.maps) == ["ground truth", *segmenters]
        truth = dataset.maps[int(example.key[-1])]
        expected = torch.where((truth == 0) | (truth == 255), -1, truth - 1)
        assert torch.equal(example.maps["ground truth"], expected)
        answer = segmenters["first"].scores[example.key].argmax(0)
        assert torch.equal(example.maps["first"], answer)
    named = collect_examples(segmenters, dataset, positions=[4, 0])
    assert [example.key for example in named] == ["image4", "image0"]
    with pytest.raises(ValueError, match="count: expected at least 1"):
        collect_examples(segmenters, dataset, count=0)
    with pytest.raises(ValueError, match="dataset: memory holds no images"):
        collect_examples(segmenters, MemorySet(CLASSES, []))


@given(st.integers(1, 40), st.integers(0, 4), st.integers(0, 5))
def test_what_is_chosen_lies_in_the_set_and_is_shared_by_all(
    images: int, each: int, spread: int
) -> None:
    keys = [f"k{i}" for i in range(images)]
    places = {"best": keys[::-1][:8], "worst": keys[:8]}
    shown, positions = chosen(places, keys=keys, each=each, spread=spread)
    assert len(set(positions)) == len(positions)
    assert all(0 <= p < images for p in positions)
    assert {keys[p] for p in positions} >= {k for ids in shown.values() for k in ids}
    assert all(len(ids) <= each for ids in shown.values())
    middle, _ = chosen({"median": ["a", "b", "c", "d", "e"]}, keys=list("abcde"), each=1)
    assert middle == {"median": ["c"]}
    _, others = chosen({}, keys=keys, each=each, spread=spread)
    assert set(others) <= set(positions)


@given(st.integers(1, 1100), st.integers(1, 1100))
@settings(max_examples=20)
def test_reducing_keeps_the_shape_and_the_labels(height: int, width: int) -> None:
    labels = torch.arange(height)[:, None] % 7 + torch.zeros(1, width, dtype=torch.int64)
    smaller = reduced_map(labels)
    assert max(smaller.shape) <= LARGEST_SIDE
    assert smaller.shape == reduced(torch.zeros(3, height, width, dtype=torch.uint8)).shape[1:]
    assert set(torch.unique(smaller).tolist()) <= set(torch.unique(labels).tolist())
    if max(height, width) <= LARGEST_SIDE:
        assert torch.equal(smaller, labels)


def test_kept_examples_come_back(tmp_path: Path) -> None:
    [plain, other] = examples(["a", "b"], words=300)
    marked = Example("ä/<b>", plain.image, plain.maps, place="best", scores={"a": 0.1, "b": None})
    content = examples_bytes([marked, other])
    assert content == examples_bytes([marked, other])
    (tmp_path / EXAMPLES_FILE).write_bytes(content)
    found = load_examples(tmp_path)
    for one, back in zip([marked, other], found, strict=True):
        assert (back.key, back.place, back.scores) == (one.key, one.place, one.scores)
        assert list(back.maps) == list(one.maps)
        assert all(torch.equal(back.maps[t].long(), m.long()) for t, m in one.maps.items())
        assert back.image.shape == one.image.shape
        assert back.image.dtype == torch.uint8
    assert load_examples(tmp_path / "none") == []
    (tmp_path / EXAMPLES_FILE).write_bytes(content[:-200])
    with pytest.raises(ValueError, match=r"examples.npz, came a damaged file"):
        load_examples(tmp_path)


def test_examples_of_several_runs_share_their_rows() -> None:
    one, two = examples(["vilseg"], words=4, count=2)
    only = Example("only", one.image, one.maps, place="worst", scores={"vilseg": 0.2})
    both = Example(one.key, one.image, {**one.maps, "patch": one.maps["vilseg"]})
    rows = side_by_side({"a": [only, one, two], "b": [both]})
    assert [row.key for row in rows] == [one.key, "only", two.key]
    assert list(rows[0].maps) == ["ground truth", "a", "b vilseg", "b patch"]
    assert (rows[1].place, rows[1].scores) == ("worst of a", {"a": 0.2})
    assert side_by_side({"a": [only]})[0].place == "worst"
    assert side_by_side({}) == []


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40))
def test_usage_is_between_one_cluster_and_all_alike(pixels: list[int]) -> None:
    usage = ClusterUsage(tuple(pixels), 3)
    assert usage.used == sum(n > 0 for n in pixels)
    assert -1e-12 <= usage.entropy <= math.log(max(1, usage.used)) + 1e-12
    assert sum(usage.shares) == pytest.approx(1 if any(pixels) else 0)
    assert ClusterUsage.of(usage.facts()) == usage
    assert ClusterUsage((7,) * 5, 1).entropy == pytest.approx(math.log(5))


def test_usage_counts_the_pixels_that_each_cluster_wins(dataset: MemorySet) -> None:
    class Halves:
        clusters = 4

        def cluster_maps(self, images: list[torch.Tensor]) -> list[torch.Tensor]:
            maps = [torch.zeros(image.shape[1:], dtype=torch.int64) for image in images]
            for ids in maps:
                ids[:4] = 2
            return maps

    usage = cluster_usage(Halves(), dataset)
    pixels = sum(m.numel() for m in dataset.maps)
    assert usage == ClusterUsage((pixels // 2, 0, pixels // 2, 0), 5)
    assert cluster_usage(Halves(), dataset, count=2).images == 2
    with pytest.raises(ValueError, match="count: expected at least 1"):
        cluster_usage(Halves(), dataset, count=0)
