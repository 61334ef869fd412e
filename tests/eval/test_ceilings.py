"""Ceilings: what masks can teach a linear classifier, and what they make of given regions."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.eval.fakes import MemorySet, class_list
from torch import Tensor

from vilseg_core.models import ViLSeg
from vilseg_data import LabelledSet, WorldLabelled
from vilseg_eval import LabelSegmentation, RegionSegmentation, evaluate
from vilseg_eval.ceilings import ProbeSegmenter, TruthSegmenter


class Blocks:
    """Cuts every image into squares of one side and gives all of them the first word."""

    name = "blocks"
    templates = ("a {}",)

    def __init__(self, dataset: LabelledSet, *, side: int) -> None:
        self.words = tuple(dataset.classes.prompts)
        self.side = side

    def segment(
        self, images: Sequence[Tensor], _keys: Sequence[str], /
    ) -> list[RegionSegmentation]:
        answers = []
        for image in images:
            height, width = image.shape[1:]
            rows, columns = torch.arange(height) // self.side, torch.arange(width) // self.side
            regions = rows[:, None] * (int(columns.max()) + 1) + columns
            scores = torch.zeros(int(regions.max()) + 1, len(self.words))
            answers.append(RegionSegmentation(regions, scores))
        return answers


class Whole(Blocks):
    """No regions."""

    def segment(  # type: ignore[override]
        self, images: Sequence[Tensor], _keys: Sequence[str], /
    ) -> list[LabelSegmentation]:
        return [LabelSegmentation(lambda: torch.zeros(4, 4).long(), 3) for _ in images]


def accuracy_of(segmenter: TruthSegmenter | ProbeSegmenter, dataset: LabelledSet) -> float:
    value = evaluate(segmenter, dataset).results["protocols"]["all"]["accuracy"]["overall"]
    assert isinstance(value, float)
    return value


@given(st.integers(1, 4), st.integers(0, 2**31), st.sampled_from([1, 2, 3, 8]))
@settings(max_examples=30, deadline=None)
def test_no_naming_of_the_regions_is_right_more_often(images: int, seed: int, side: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    maps = [torch.randint(0, 3, (8, 8), generator=draw) for _ in range(images)]
    for labels in maps:
        labels[torch.rand(8, 8, generator=draw) < 0.2] = 255
        labels[0, 0] = 1
    dataset = MemorySet(class_list(3), maps)
    blocks = Blocks(dataset, side=side)
    right = total = 0
    for labels, answer in zip(
        maps, blocks.segment([torch.zeros(3, 8, 8)] * images, []), strict=True
    ):
        assert answer.regions is not None
        for region in torch.unique(answer.regions).tolist():
            inside = labels[answer.regions == region]
            votes = [int((inside == c).sum()) for c in range(3)]
            right, total = right + max(votes), total + sum(votes)
    assert accuracy_of(TruthSegmenter(blocks, dataset), dataset) == pytest.approx(right / total)


def test_regions_of_single_pixels_are_all_right_but_for_background() -> None:
    labels = torch.tensor([[0, 1, 2, 255], [2, 2, 1, 0]])
    dataset = MemorySet(class_list(3, background=0), [labels])
    words = tuple(dataset.classes.prompts[1:])
    blocks = Blocks(dataset, side=1)
    blocks.words = words
    [answer] = TruthSegmenter(blocks, dataset).segment([dataset[0].image], ["image0"])
    # Words are numbered without the background, which is outside them, as void is.
    named = answer.labels(range(2))
    assert named is not None
    assert named.tolist() == [[-1, 0, 1, -1], [1, 1, 0, -1]]


def test_what_has_no_regions_is_refused() -> None:
    dataset = MemorySet(class_list(3), [torch.zeros(4, 4).long()])
    segmenter = TruthSegmenter(Whole(dataset, side=1), dataset)
    with pytest.raises(
        ValueError, match="segmenter: expected one that cuts regions, came 'blocks'"
    ):
        segmenter.segment([torch.zeros(3, 4, 4).byte()], ["image0"])


def test_masks_teach_a_probe(model: ViLSeg) -> None:
    masks = WorldLabelled(split="masks", count=48, image_size=32)
    test = WorldLabelled(split="test", count=24, image_size=32)
    short = ProbeSegmenter(model, masks, steps=1, lr=1e-6)
    probe = ProbeSegmenter(model, masks, steps=80)
    assert accuracy_of(probe, masks) > 1.5 * accuracy_of(short, masks)
    assert accuracy_of(probe, test) > accuracy_of(short, test)
    again = ProbeSegmenter(model, masks, steps=80)
    [first], [second] = (p.segment([test[0].image]) for p in (probe, again))
    assert torch.equal(first.scores, second.scores)
    assert len(probe.words) == 22


def test_a_probe_wants_masks_of_one_size_and_steps(model: ViLSeg) -> None:
    maps = [torch.zeros(32, 32).long(), torch.zeros(32, 40).long()]
    with pytest.raises(ValueError, match="dataset: expected masks of one size"):
        ProbeSegmenter(model, MemorySet(class_list(3), maps))
    with pytest.raises(ValueError, match="steps: expected at least 1, came 0"):
        ProbeSegmenter(model, MemorySet(class_list(3), maps), steps=0)
