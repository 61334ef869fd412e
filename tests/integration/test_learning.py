"""Captions alone teach segmentation: a short run on the world beats chance by far."""

from pathlib import Path

import pytest

from vilseg_data import build_labelled
from vilseg_eval import PatchSegmenter, ViLSegSegmenter, evaluate
from vilseg_train import Trainer, load_config, open_run

SHORT = [
    "train.steps=250",
    "train.retrieval_images=0",
    "train.sample_images=0",
    "data.count=6000",
    "loss.cluster_start=0.5",
]


@pytest.mark.slow
def test_a_short_run_on_the_world_beats_chance(tmp_path: Path) -> None:
    Trainer(load_config("world", overrides=SHORT), out=tmp_path / "run").fit()
    run = open_run(tmp_path / "run")
    dataset = build_labelled("world", count=100)
    for segmenter in (ViLSegSegmenter, PatchSegmenter):
        results = evaluate(
            segmenter(run.model, run.tokenizer, dataset.classes.prompts), dataset
        ).results
        score = results["protocols"]["all"]["miou"]
        chance = results["chance"]["all"]["miou"]
        assert score > 2.5 * chance, (segmenter.__name__, score, chance)
