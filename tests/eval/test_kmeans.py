"""K-means on the features of one image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.eval.images import blocks, random_images
from torch.nn.functional import normalize

from vilseg_core.models import ViLSeg
from vilseg_data import Tokenizer
from vilseg_eval import InferenceConfig, KMeansSegmenter
from vilseg_eval.segmenters.regions import Regions

WORDS = ("dog", "grass", "red car", "sheep", "person")


def regions_of(segmenter: KMeansSegmenter, *images: Any) -> list[Any]:
    return list(segmenter.open(images))


def test_every_token_belongs_to_its_nearest_centre_and_every_centre_is_a_mean(
    model: ViLSeg, tokenizer: Tokenizer
) -> None:
    nearest = InferenceConfig(upsampling="nearest")
    segmenter = KMeansSegmenter(model, tokenizer, WORDS, clusters=4, inference=nearest)
    (image,) = random_images((32, 32), seed=5)
    (regions,) = regions_of(segmenter, image)
    assert isinstance(regions, Regions)
    with torch.no_grad():
        pixels = model.encode_image(image[None].float() / 255).pixels[0]
    tokens = normalize(pixels, dim=0).flatten(1).T
    owner = regions.map[4::8, 4::8].flatten()
    assert len(regions.clusters) == 4
    centres = torch.stack([tokens[owner == row].mean(0) for row in range(4)])
    # A fixed point of Lloyd's algorithm, up to scikit-learn's tolerance.
    assert torch.equal(torch.cdist(tokens, centres).argmin(1), owner)
    pooled = torch.stack([pixels.flatten(1)[:, owner == row].mean(1) for row in range(4)])
    torch.testing.assert_close(regions.features, normalize(pooled, dim=1))


def test_it_is_the_same_again_and_does_not_depend_on_the_other_images(
    model: ViLSeg, tokenizer: Tokenizer
) -> None:
    images = random_images((32, 32), (20, 45), seed=2)
    segmenter = KMeansSegmenter(model, tokenizer, WORDS, seed=3)
    together = regions_of(segmenter, *images)
    again = regions_of(KMeansSegmenter(model, tokenizer, WORDS, seed=3), *reversed(images))
    for first, second in zip(together, reversed(again), strict=True):
        assert torch.equal(first.map, second.map)
    assert segmenter.settings["seed"] == 3
    assert segmenter.settings["clusters"] == model.config.cluster.clusters


def test_more_clusters_than_different_tokens_is_no_error(
    model: ViLSeg, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = torch.randn(16, generator=torch.Generator().manual_seed(0)).view(1, 16, 1, 1)

    class Features:
        pixels = torch.cat([flat.expand(1, 16, 4, 2), -flat.expand(1, 16, 4, 2)], 3)

    monkeypatch.setattr(model, "encode_image", lambda _: Features)
    (regions,) = regions_of(
        KMeansSegmenter(model, tokenizer, WORDS, clusters=9), blocks(1, 1, side=8)
    )
    assert len(regions.clusters) == 2
    assert (regions.map[:, :4] == regions.map[0, 0]).all()
    assert (regions.map[:, 4:] == 1 - regions.map[0, 0]).all()


@pytest.mark.parametrize(("argument", "value"), [("clusters", 0), ("restarts", 0), ("seed", -1)])
def test_impossible_numbers_are_refused(
    argument: str, value: int, model: ViLSeg, tokenizer: Tokenizer
) -> None:
    with pytest.raises(ValueError, match=f"{argument}: expected at least .*, came {value}"):
        KMeansSegmenter(model, tokenizer, WORDS, **{argument: value})  # type: ignore[arg-type]
