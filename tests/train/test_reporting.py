import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.eval.report.cases import class_sets, random_counts, result
from tests.train.conftest import quiet, said
from typer.testing import CliRunner

from vilseg_eval import load_result, paired_differences
from vilseg_eval.report import load_examples
from vilseg_eval.report.score_table import signed
from vilseg_train.cli import app
from vilseg_train.evaluation import evaluate_folder
from vilseg_train.reporting import asked, group_seeds, open_evaluations, report_runs

SETS = class_sets(4, unseen=1)
FILES = {"report.html", "table.md", "protocols.csv", "classes.csv"}


def _run(folder: Path, *, seed: int, evaluation: str = "voc", **about: Any) -> Path:
    """A run with a configuration and one evaluation."""
    target = folder / "eval" / evaluation
    target.mkdir(parents=True)
    (folder / "config.toml").write_text(f'name = "a"\nseed = {seed}\n[optim]\nlr = 0.1\n')
    found = result(SETS, random_counts(SETS, skill=0.5, seed=seed), **about)
    (target / "results.json").write_text(json.dumps(found))
    return folder


def test_an_evaluated_run_is_shown_again_without_model_and_data(own_run: Path) -> None:
    evaluate_folder(own_run, data="world", count=5, console=quiet())
    shutil.rmtree(own_run / "checkpoints")
    console = quiet()
    page = report_runs([own_run], plots=True, console=console)
    assert page == own_run / "report" / "report.html"
    assert {path.name for path in page.parent.iterdir()} == FILES | {"plots"}
    text = page.read_text()
    evaluated = (own_run / "eval" / "world" / "report.html").read_text()
    for part in ("Clusters", "What is taken for what", "ground truth", "clusters win pixels"):
        assert part in text
        assert part in evaluated
    assert "mushroom*" in said(console)
    assert said(console).rstrip().endswith(f"report: {page.resolve()}")
    examples = load_examples(own_run / "eval" / "world")
    assert len(examples) == 5
    assert {example.place for example in examples} == {"best", "median", "worst"}
    assert all(0 <= (example.scores["vilseg"] or 0) <= 1 for example in examples)
    assert all(list(example.maps) == ["ground truth", "vilseg"] for example in examples)


def test_runs_stand_side_by_side_with_their_differences(tmp_path: Path) -> None:
    runs = [_run(tmp_path / name, seed=number) for number, name in enumerate("ab")]
    page = report_runs(runs, out=tmp_path / "out", console=quiet())
    assert "a and b on voc val" in page.read_text()
    rows = (tmp_path / "out" / "protocols.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {"a", "b"}


def test_evaluations_of_the_same_images_have_intervals_of_their_differences(own_run: Path) -> None:
    for segmenter in ("vilseg", "patch"):
        evaluate_folder(own_run, data="world", count=6, segmenter=segmenter, console=quiet())
    page = report_runs([own_run], console=quiet())
    with (page.parent / "differences.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows} == {"patch"}
    folders = [own_run / "eval" / name for name in ("world", "world-patch")]
    found = paired_differences(*map(load_result, folders))["all"]
    (told,) = (r for r in rows if r["protocol"] == "all" and r["measure"] == "miou")
    assert [float(told[key]) for key in ("more", "low", "high")] == [
        found["miou"],
        *found["interval"]["miou"],
    ]
    low, high = (signed(end) for end in found["interval"]["miou"])
    assert f"{signed(found['miou'])} ({low} to {high})" in page.read_text()


def test_segmenters_of_one_run_are_labelled_by_their_names(tmp_path: Path) -> None:
    _run(tmp_path / "a", seed=0)
    found = result(SETS, random_counts(SETS, skill=0.5, seed=1), segmenter="patch")
    target = tmp_path / "a" / "eval" / "voc-patch"
    target.mkdir()
    (target / "results.json").write_text(json.dumps(found))
    assert [e.label for e in open_evaluations([tmp_path / "a"])] == ["vilseg", "patch"]
    again = open_evaluations([tmp_path / "a", target])
    assert [e.label for e in again] == ["vilseg", "patch"]
    other = _run(tmp_path / "b", seed=3)
    labels = [e.label for e in open_evaluations([tmp_path / "a", other])]
    assert labels == ["a vilseg", "a patch", "b vilseg"]
    same = [_run(tmp_path / part / "a", seed=4) for part in ("x", "y")]
    folders = [run / "eval" / "voc" for run in same]
    assert [e.label for e in open_evaluations(same)] == [str(folder) for folder in folders]


def test_a_words_audit_is_shown_with_its_ways_of_naming(tmp_path: Path) -> None:
    for number, name in enumerate(("dataset-single", "dataset-clip80")):
        (tmp_path / name).mkdir()
        found = result(SETS, random_counts(SETS, skill=0.5, seed=number))
        (tmp_path / name / "results.json").write_text(json.dumps(found))
    table = {"miou": [[0.111, 0.222]], "lowest": 0.111, "highest": 0.222, "spread": 0.111}
    audit = {"names": ["dataset"], "templates": ["single", "clip80"], "protocols": {"all": table}}
    (tmp_path / "audit.json").write_text(json.dumps(audit))
    page = report_runs([tmp_path], console=quiet()).read_text()
    for part in ("Other names, other templates", "22.2", "dataset-single", "dataset-clip80"):
        assert part in page


def test_seeds_of_one_configuration_are_one_column(tmp_path: Path) -> None:
    runs = [_run(tmp_path / f"wide-s{seed}", seed=seed) for seed in (1, 2, 10)]
    other = _run(tmp_path / "narrow", seed=1)
    text = (other / "config.toml").read_text().replace("0.1", "0.2")
    (other / "config.toml").write_text(text)
    groups = group_seeds(open_evaluations([*runs, other]))
    assert {label: len(members) for label, members in groups.items()} == {"wide-s": 3, "narrow": 1}
    console = quiet()
    page = report_runs([*runs, other], out=tmp_path / "out", group=True, console=console)
    assert "wide-s and narrow on voc val" in page.read_text()
    assert "± " in page.read_text()
    assert "(3)" in said(console)
    (other / "config.toml").unlink()
    with pytest.raises(ValueError, match=r"--group: expected .*narrow/config.toml"):
        report_runs([*runs, other], out=tmp_path / "out", group=True, console=quiet())


def test_what_cannot_stand_side_by_side_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    one = _run(tmp_path / "a", seed=0)
    out = tmp_path / "out"
    other = _run(tmp_path / "b", seed=0, split="train")
    with pytest.raises(ValueError, match=r"'a' and 'b' of the same data.*'val' and 'train'"):
        report_runs([one, other], out=out, console=quiet())
    with pytest.raises(ValueError, match=r"RUN: expected results.json in .*; run vilseg eval"):
        report_runs([tmp_path / "none"], out=out, console=quiet())
    (one / "eval" / "voc" / "results.json").write_text("{")
    with pytest.raises(ValueError, match=r"RUN: .*results.json cannot be read"):
        report_runs([one], out=out, console=quiet())
    (one / "eval" / "voc" / "results.json").write_text("[]")
    with pytest.raises(ValueError, match=r"came a file without segmenter, data"):
        report_runs([one], out=out, console=quiet())
    (other / "eval" / "voc" / "confusion.npz").write_bytes(b"PK no zip")
    with pytest.raises(ValueError, match=r"confusion.npz, came a damaged file"):
        report_runs([other], out=out, console=quiet())
    (other / "eval" / "voc" / "confusion.npz").unlink()
    (other / "eval" / "voc" / "examples.npz").write_bytes(b"PK no zip")
    with pytest.raises(ValueError, match=r"examples.npz, came a damaged file"):
        report_runs([other], out=out, console=quiet())
    assert not out.exists()


def test_the_command_writes_where_it_is_told(tmp_path: Path) -> None:
    run = _run(tmp_path / "a", seed=0)
    arguments = ["report", str(run), "--out", str(tmp_path / "o"), "--title", "Mine"]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.stderr
    assert "<h1>Mine</h1>" in (tmp_path / "o" / "report.html").read_text()
    found = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert found.exit_code == 2
    [line] = found.stderr.splitlines()
    assert "expected results.json" in line


def test_the_command_line_is_recorded_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["eval", "my run", "--out", "there", "--resume", "--data", "voc", "--out=here"]
    monkeypatch.setattr("sys.argv", ["/bin/vilseg", *given])
    assert asked() == "vilseg eval 'my run' --data voc"
    monkeypatch.setattr("sys.argv", ["/bin/pytest"])
    assert asked() is None
