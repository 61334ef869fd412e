"""What is said against a run, on made-up numbers and on runs that did collapse."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.train.conftest import quiet, said, tiny_config

from vilseg_train import RunConfig, Trainer
from vilseg_train.health import examine, examine_all, warm_up
from vilseg_train.watch import Watch

CONFIG = tiny_config("model.cluster.clusters=25", "train.steps=400")
SOUND = {
    "step": 300, "skipped": 0, "temperature": 0.05, "nearer": 0.9, "clusters_used": 22.0,
    "cluster_entropy": 3.0, "pixel_entropy": 0.8, "target_entropy": 0.9, "mean_target_entropy": 2.0,
}  # fmt: skip


def names(numbers: dict[str, Any], config: RunConfig = CONFIG) -> list[str]:
    return [finding.name for finding in examine(numbers, config)]


def test_nothing_is_said_against_a_sound_run() -> None:
    assert names(SOUND) == []
    assert names({}) == []


@pytest.mark.parametrize(
    ("changed", "name", "remedy"),
    [
        ({"clusters_used": 7.0}, "clusters_used", "raise loss.entropy_weight"),
        ({"pixel_entropy": math.log(25)}, "pixel_entropy", "lower loss.entropy_weight"),
        ({"target_entropy": 0.001, "mean_target_entropy": 0.002}, "target_entropy", "lower loss"),
        ({"target_entropy": 2.0}, "target_entropy", "the same for every image"),
        ({"temperature": 0.01}, "temperature", "enlarge train.batch_size"),
        ({"nearer": 0.5}, "nearer", "look at the data"),
        ({"skipped": 30}, "skipped", "lower optim.lr"),
    ],
)
def test_each_collapse_is_named_with_a_remedy(
    changed: dict[str, float], name: str, remedy: str
) -> None:
    [finding] = examine(SOUND | changed, CONFIG)
    assert finding.name == name
    assert remedy in finding.text


def test_a_clustering_head_is_not_judged_when_it_begins() -> None:
    begins = int(CONFIG.loss.cluster_start * CONFIG.train.steps)
    dead = SOUND | {"clusters_used": 1.0}
    assert names(dead | {"step": begins + warm_up(CONFIG)}) == []
    assert names(dead | {"step": begins + warm_up(CONFIG) + 1}) == ["clusters_used"]


def test_exact_eq_2_is_given_the_remedy_for_it() -> None:
    literal = tiny_config("loss.vision_targets=none")
    [finding] = examine(SOUND | {"target_entropy": 2.0}, literal)
    assert "set loss.vision_targets=sinkhorn" in finding.text


def test_it_is_said_once_until_it_is_over() -> None:
    console = quiet()
    watch = Watch(CONFIG, console=console)
    dead = SOUND | {"clusters_used": 2.0}
    late = 300
    for step, numbers in ((1, dead), (late, dead), (late + 1, dead), (late + 2, SOUND)):
        watch.look(step, numbers)
    assert said(console).count("warning") == 1
    watch.look(late + 3, dead)
    assert said(console).count("warning") == 2


def collapsing(*overrides: str) -> RunConfig:
    return tiny_config(
        "train.steps=80", "train.log_every=5", "train.checkpoint_every=80", "optim.warmup_steps=1",
        "train.sample_images=0", "train.retrieval_images=0", *overrides,
    )  # fmt: skip


def found_in(config: RunConfig, out: Path) -> set[str]:
    console = quiet()
    Trainer(config, out=out, console=console).fit()
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    found = {f.name for findings in examine_all(lines, config).values() for f in findings}
    assert ("warning: step" in said(console)) == bool(found)
    return found


def test_eq_2_to_the_letter_collapses_and_is_found(tmp_path: Path) -> None:
    literal = collapsing(
        "loss.vision_targets=none", "loss.vision=1", "loss.cross=0", "loss.cluster=0",
        "loss.global_temperature=1", "loss.local_temperature=1", "optim.lr=1e-2",
    )  # fmt: skip
    assert "target_entropy" in found_in(literal, tmp_path / "run")


def test_a_temperature_at_its_clamp_is_found(tmp_path: Path) -> None:
    # Cosines times 2 at most tell nothing apart, so that a larger factor always pays.
    held = collapsing(
        "loss.temperature=0.51", "loss.max_scale=2", "optim.lr=3e-3", "loss.vision=0",
        "loss.cluster=0",
    )  # fmt: skip
    assert "temperature" in found_in(held, tmp_path / "run")


def test_clusters_that_never_part_are_found(tmp_path: Path) -> None:
    even = collapsing(
        "loss.entropy_weight=5", "loss.cluster_start=0", "loss.vision=0",
        "model.cluster.normalize=l2",
    )  # fmt: skip
    assert "pixel_entropy" in found_in(even, tmp_path / "run")
