"""A study from nothing to its table, and once more with nothing left to do."""

import json
import math
import shlex
from pathlib import Path

import pytest
import torch
from tests.train.conftest import TINY, quiet, said

from vilseg_train.reproduce.job import Job
from vilseg_train.reproduce.plan import chosen_studies
from vilseg_train.reproduce.scheduler import StudyEnded, is_done
from vilseg_train.reproduce.study import Setting, reproduce, study_jobs
from vilseg_train.run import open_run

SETTING = Setting(overrides=tuple(TINY), images=6)


def test_a_study_is_trained_scored_and_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "study"
    written = reproduce("fig6", out=out, setting=SETTING, seeds=1, at_once=1, console=quiet())
    assert [path.name for path in written] == ["fig6.json", "fig6.md", "fig6.png"]
    document = json.loads((out / "fig6.json").read_text())
    assert [row["key"] for row in document["rows"]] == ["vilseg", "patch"]
    assert all(0 <= row["mean"] <= 1 for row in document["rows"])
    words = shlex.split(document["rows"][0]["command"])
    sets = [word for override in TINY for word in ("--set", override)]
    alone = ["--only", "full", "--seeds", "1", "--images", "6"]
    assert words == ["vilseg", "reproduce", "fig6", "--preset", "world", *sets, *alone]
    (claim,) = document["claims"]
    ours, patch = (row["mean"] for row in document["rows"])
    assert (claim["claim"], claim["holds"]) == (
        "above single patches of its own encoder",
        ours > patch,
    )
    assert f"| {claim['claim']} | above |" in (out / "fig6.md").read_text()
    (job,) = study_jobs(chosen_studies("fig6"), out=out, setting=SETTING, seeds=1)
    assert is_done(job)
    before = {path: path.stat().st_mtime_ns for path in Path(job.folder).rglob("*")}
    console = quiet()
    reproduce("fig6", out=out, setting=SETTING, seeds=1, at_once=1, console=console)
    assert {path: path.stat().st_mtime_ns for path in Path(job.folder).rglob("*")} == before
    assert "ViL-Seg" in said(console)
    assert json.loads((out / "fig6.json").read_text()) == document
    with pytest.raises(ValueError, match=r"--out: .* was begun with images 6, came 7"):
        reproduce(
            "fig6", out=out, setting=Setting(overrides=tuple(TINY), images=7), console=quiet()
        )


def test_a_head_is_trained_anew_on_the_encoders_of_its_parent(tmp_path: Path) -> None:
    out = tmp_path / "study"
    written = reproduce(
        "fig5", out=out, setting=SETTING, seeds=1, only=["clusters-5"], at_once=1, console=quiet()
    )
    document = json.loads(written[0].read_text())
    assert [row["key"] for row in document["rows"]] == ["clusters-5"]
    parent = open_run(out / "full" / "seed-0" / "run")
    head = open_run(out / "clusters-5" / "seed-0" / "run")
    assert head.step == parent.step - math.ceil(0.4 * parent.step)
    assert head.model.config.cluster.clusters == 5
    for name, weight in head.model.state_dict().items():
        if not name.startswith("clustering_head."):
            assert torch.equal(weight, parent.model.state_dict()[name]), name
    norm = "clustering_head.norm.running_mean"
    assert head.model.state_dict()[norm].abs().sum() > 0


def test_jobs_survive_their_file() -> None:
    jobs = study_jobs(chosen_studies("all"), out=Path("out"), setting=SETTING, seeds=2)
    assert [Job.from_json(job.to_json()) for job in jobs] == jobs
    trained = [job for job in jobs if job.parent is None]
    assert len({job.folder for job in jobs}) == len(jobs)
    assert {job.config().seed for job in trained} == {0, 1}
    folders = {f"{job.folder}/run" for job in jobs}
    assert {job.parent for job in jobs if job.parent is not None} <= folders


def test_a_failed_run_is_named_with_what_it_said(tmp_path: Path) -> None:
    setting = Setting(overrides=(*TINY, "data.max_broken=0"), images=6)
    out = tmp_path / "study"
    (job,) = study_jobs(chosen_studies("fig6"), out=out, setting=setting, seeds=1)
    (Path(job.folder) / "run").mkdir(parents=True)
    (Path(job.folder) / "run" / "notes.txt").write_text("somebody's")
    with pytest.raises(StudyEnded, match=r"full, seed 0, ended with code 1: .*not empty"):
        reproduce("fig6", out=out, setting=setting, seeds=1, at_once=1, console=quiet())


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seeds: expected at least 1, came 0"):
        reproduce("fig6", out=tmp_path / "a", seeds=0, console=quiet())
    photos = Setting(preset="flickr8k", overrides=("data.root=x",))
    with pytest.raises(ValueError, match="--preset: expected one on a built-in world"):
        reproduce("fig6", out=tmp_path / "a", setting=photos, console=quiet())
