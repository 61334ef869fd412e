"""What the doctor says follows from the numbers of a run, and from nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.train.conftest import quiet, said, tiny_config

from vilseg_train.doctor import alignment, diagnose, report

HEALTHY = {
    "cross": 1.2,
    "temperature": 0.06,
    "nearer": 0.9,
    "clusters_used": 4.0,
    "pixel_entropy": 0.4,
    "target_entropy": 1.0,
    "mean_target_entropy": 1.9,
    "gradient_norm": 0.8,
    "skipped": 0,
}
Line = dict[str, float]


def run_of(folder: Path, change: Callable[[int, Line], Line] = lambda _, line: line) -> Path:
    """A folder with the record of 400 steps, each line changed by `change`."""
    folder.mkdir()
    config = tiny_config("train.steps=400", "train.log_every=20")
    (folder / "config.toml").write_text(config.to_toml())
    lines = [{"step": step, **change(step, dict(HEALTHY))} for step in range(20, 401, 20)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_healthy_run_has_no_symptoms(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    assert diagnose(run) == []
    console = quiet()
    assert report(run, console=console)
    assert "400 steps recorded" in said(console)
    assert "nothing looks wrong" in said(console)


@pytest.mark.parametrize(
    ("name", "values", "remedy"),
    [
        ("clusters_used", {"clusters_used": 1.0}, "loss.entropy_weight"),
        ("pixel_entropy", {"pixel_entropy": 1.3862}, "optim.head_lr"),
        ("target_entropy", {"mean_target_entropy": 0.1, "target_entropy": 0.09}, "loss.vision"),
        ("temperature", {"temperature": 0.01}, "train.batch_size"),
        ("nearer", {"nearer": 0.5}, "optim.lr"),
        ("skipped", {"skipped": 50}, "optim.clip"),
        ("flat", {"cross": 2.079}, "by a factor of 3"),
        ("clipped", {"gradient_norm": 50.0}, "optim.clip"),
    ],
)
def test_each_collapse_is_named_with_what_to_change(
    tmp_path: Path, name: str, values: Line, remedy: str
) -> None:
    run = run_of(tmp_path / "run", lambda _, line: line | values)
    (symptom,) = diagnose(run)
    assert symptom.finding.name == name
    assert remedy in symptom.finding.text
    assert symptom.lasting
    console = quiet()
    assert not report(run, console=console)
    assert remedy in " ".join(said(console).split())


def test_what_passed_comes_after_what_lasted(tmp_path: Path) -> None:
    def change(step: int, line: Line) -> Line:
        early = {"clusters_used": 1.0} if 280 < step <= 340 else {}
        late = {"nearer": 0.5} if step > 360 else {}
        return line | early | late

    lasting, passed = diagnose(run_of(tmp_path / "run", change))
    assert (lasting.finding.name, lasting.steps, lasting.lasting) == ("nearer", (380, 400), True)
    assert (passed.finding.name, passed.steps) == ("clusters_used", (300, 340))
    assert not passed.lasting


def test_a_loss_that_rises_again(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", lambda step, line: line | {"cross": 0.5 + step / 400})
    assert [symptom.finding.name for symptom in diagnose(run)] == ["rising"]


def test_a_cut_gradient_is_no_symptom_where_the_loss_falls(tmp_path: Path) -> None:
    def change(step: int, line: Line) -> Line:
        return line | {"gradient_norm": 50.0, "cross": 2.0 - step / 400}

    assert diagnose(run_of(tmp_path / "run", change)) == []


def test_retrieval_at_chance(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    ranks = {"R@10": 0.02}
    scores = {way: dict(ranks) for way in ("image_to_text", "text_to_image")}
    scores["text_to_image"]["R@10"] = 0.3
    chance = {way: {"R@10": 0.015} for way in scores}
    (run / "retrieval.json").write_text(json.dumps(scores | {"chance": chance}))
    (symptom,) = diagnose(run)
    assert symptom.finding.name == "retrieval-image_to_text"
    assert "R@10 2.0%, chance 1.5%" in symptom.finding.text


def test_pixels_that_are_not_near_their_words() -> None:
    results: dict[str, Any] = {
        "protocols": {"all": {"miou": 0.04}},
        "chance": {"all": {"miou": 0.034}},
        "labels": ["dog", "bird", "cat", "cow", "sheep"],
    }
    near, hub = alignment(results, [5, 80, 5, 5, 5, 0], Path("voc"))
    assert "close to that of a random labelling" in near.text
    assert "80% of all pixels are named 'bird'" in hub.text
    results["protocols"]["all"]["miou"] = 0.3
    assert alignment(results, [20, 20, 20, 20, 20, 0], Path("voc")) == []


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a run that has trained: it lacks metrics\.jsonl"):
        diagnose(tmp_path)
    run = run_of(tmp_path / "run")
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(ValueError, match="holds no line yet"):
        diagnose(run)


def test_a_finished_run_and_its_evaluations_are_read(finished_run: Path) -> None:
    assert report(finished_run, console=quiet()) in (True, False)
