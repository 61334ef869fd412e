"""Captions alone teach segmentation, and each of the three losses is seen to do its part.

What a loss is for is measured on scenes that were not trained on, by formulas written here, so that
a loss that is wrong cannot vouch for itself. The log has the figures of several seeds, and those of
runs in which one loss was flipped, cut off or given the captions of other scenes.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vilseg_data import build_captions, build_labelled
from vilseg_eval import PatchSegmenter, ViLSegSegmenter, evaluate
from vilseg_train import Trainer, load_config, open_run
from vilseg_train.run import Run

SHORT = (
    "train.steps=300",
    "train.retrieval_images=0",
    "train.sample_images=0",
    "data.count=5000",
    "loss.cluster_start=0.5",
)
SCENES = 128


@pytest.mark.slow
def test_a_short_run_on_the_world_learns_by_each_of_its_losses(tmp_path: Path) -> None:
    Trainer(load_config("world", overrides=SHORT), out=tmp_path / "run").fit()
    check(measures(open_run(tmp_path / "run")))


def check(found: dict[str, float]) -> None:
    """Bounds between three seeds and seven broken runs, all in the log."""
    assert found["vilseg"] > 4 * found["chance"], found
    assert found["patch"] > 3 * found["chance"], found
    assert found["retrieval"] > 0.03, found
    assert found["locality"] > 13, found
    assert found["information"] > 0.75, found


@torch.no_grad()
def measures(run: Run) -> dict[str, float]:
    """mIoU of both segmenters and of chance; share of scenes that are nearest to their own caption;
    how many nats more a crop's prototypes say of its own scene than of another; nats that a
    pixel's cluster says of its cluster in the mirrored scene."""
    dataset = build_labelled("world", count=100)
    found: dict[str, float] = {}
    for segmenter in (ViLSegSegmenter, PatchSegmenter):
        results = evaluate(
            segmenter(run.model, run.tokenizer, dataset.classes.prompts), dataset
        ).results
        found[segmenter.name] = results["protocols"]["all"]["miou"]
        found["chance"] = results["chance"]["all"]["miou"]
    source = build_captions(run.config.data, split="val")
    images = torch.stack([source[i].image for i in range(SCENES)]) / 255
    whole = run.model.encode_image(images)
    captions = run.tokenizer([source.captions(i)[0] for i in range(SCENES)])
    words = normalize(run.model.encode_text(captions), dim=1)
    nearest = (normalize(whole.pooled, dim=1) @ words.T).argmax(1)
    found["retrieval"] = float((nearest == torch.arange(SCENES)).float().mean())
    crops = run.model.encode_image(images[:, :, 8:32, 8:32]).pooled
    found["locality"] = _said_of_own(
        run.model.projection(crops) / 0.1, run.model.projection(whole.pooled) / 0.05
    )
    mirrored = run.model.encode_image(images.flip(3)).pixels.flip(3)
    found["information"] = _information(
        run.model.cluster(whole.pixels).softmax(1), run.model.cluster(mirrored).softmax(1)
    )
    return found


def _said_of_own(crops: Tensor, scenes: Tensor) -> float:
    """Logits (n, p): the mean of -log q(crop) under p(another scene), less that under its own."""
    cross = -(scenes.softmax(1) @ crops.log_softmax(1).T)
    own = cross.diagonal().mean()
    return float((cross.sum() - cross.diagonal().sum()) / (len(cross) * (len(cross) - 1)) - own)


def _information(first: Tensor, second: Tensor) -> float:
    """Shares (n, c, h, w) of the same pixels: the mutual information of the two, in nats."""
    joint = torch.einsum("nchw,nkhw->ck", first, second).double()
    joint = (joint + joint.T) / (2 * joint.sum())
    marginal = joint.sum(1)
    ratio = joint / (marginal[:, None] * marginal).clamp_min(1e-12)
    return float((joint * ratio.clamp_min(1e-12).log()).sum())
