"""PAMR against the loop of its formula, and what it keeps."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.eval.images import blocks, random_images
from torch import Tensor

from vilseg_core.models import ViLSeg
from vilseg_data import Tokenizer
from vilseg_eval import InferenceConfig, ViLSegSegmenter
from vilseg_eval import refine as pamr
from vilseg_eval.refine import refine, shrink, working_size

LEAST = 1e-4


def by_loops(image: Tensor, maps: Tensor, *, dilations: tuple[int, ...]) -> Tensor:
    """One pass, pixel by pixel, from the formula."""
    height, width = maps.shape[1:]
    values = image.double() / 255
    refined = torch.zeros_like(maps, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            around = [
                (min(max(y + d * i, 0), height - 1), min(max(x + d * j, 0), width - 1))
                for d in dilations
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
                if (i, j) != (0, 0)
            ]
            kernels = []
            for row, column in around:
                total = 0.0
                for channel in range(3):
                    near = torch.stack([values[channel, p, q] for p, q in around])
                    variance = max(float(near.var(correction=0)), LEAST)
                    distance = abs(values[channel, y, x] - values[channel, row, column])
                    total -= float(distance) / variance / 3
                kernels.append(total)
            shares = [math.exp(k - max(kernels)) for k in kernels]
            for share, (row, column) in zip(shares, around, strict=True):
                refined[:, y, x] += share / sum(shares) * maps[:, row, column].double()
    return refined


def test_a_pass_is_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pamr, "DILATIONS", (1, 2))
    (image,) = random_images((5, 6), seed=4)
    maps = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(0))
    expected = by_loops(image, maps, dilations=(1, 2))
    torch.testing.assert_close(
        refine(image, maps, passes=1).double(), expected, atol=1e-4, rtol=1e-3
    )
    twice = refine(image, refine(image, maps, passes=1), passes=1)
    assert torch.equal(refine(image, maps, passes=2), twice)
    assert torch.equal(refine(image, maps, passes=0), maps)


@given(height=st.integers(1, 12), width=st.integers(1, 12), passes=st.integers(1, 3))
@settings(max_examples=10)
def test_shares_stay_shares_and_each_map_is_refined_by_itself(
    height: int, width: int, passes: int
) -> None:
    (image,) = random_images((height, width), seed=height)
    maps = torch.rand(3, height, width).softmax(0)
    refined = refine(image, maps, passes=passes)
    torch.testing.assert_close(refined.sum(0), torch.ones(height, width))
    assert float(refined.min()) >= 0
    assert float(refined.max()) <= float(maps.max()) + 1e-6
    torch.testing.assert_close(refine(image, maps[1:2], passes=passes), refined[1:2])


def test_maps_move_to_the_edges_of_the_photo() -> None:
    image = torch.zeros(3, 24, 24, dtype=torch.uint8)
    image[:, :, 12:] = 200
    rough = torch.zeros(2, 24, 24)
    rough[0, :, :15] = 1  # three pixels beyond the edge
    rough[1, :, 15:] = 1
    labels = refine(image, rough, passes=10).argmax(0)
    assert (labels[:, :12] == 0).all()
    assert (labels[:, 12:] == 1).all()


def test_large_images_are_refined_at_a_bounded_size() -> None:
    assert working_size(300, 400) == (300, 400)
    assert working_size(3000, 1024) == (512, 175)
    assert working_size(1, 20_000) == (1, 512)
    photo = blocks(2, 3, side=40)
    assert shrink(photo, size=(80, 120)) is photo
    assert torch.equal(shrink(photo, size=(8, 12))[:, 1::4, 1::4], photo[:, ::40, ::40])


def test_maps_must_have_the_size_of_the_image() -> None:
    with pytest.raises(ValueError, match="maps: expected the image's size"):
        refine(blocks(1, 1, side=4), torch.zeros(2, 3, 4), passes=1)


@pytest.mark.parametrize("rule", ["logits", "softmax", "nearest"])
def test_a_segmenter_refines_under_every_rule(
    rule: str, model: ViLSeg, tokenizer: Tokenizer
) -> None:
    (image,) = random_images((20, 30), seed=1)
    config = InferenceConfig.model_validate({"upsampling": rule})
    plain = ViLSegSegmenter(model, tokenizer, ["dog", "grass"], inference=config)
    refining = config.model_copy(update={"refine": 2})
    refined = ViLSegSegmenter(model, tokenizer, ["dog", "grass"], inference=refining)
    (first,), (second,) = plain.segment([image]), refined.segment([image])
    assert first.labels([0, 1]).shape == second.labels([0, 1]).shape == (20, 30)
    assert not torch.equal(plain.open([image])[0].map, refined.open([image])[0].map)
    assert refined.settings["refine"] == 2
