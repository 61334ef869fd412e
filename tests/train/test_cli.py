import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from tests.train.conftest import TINY, sets
from typer.testing import CliRunner, Result

from vilseg_train.cli import app
from vilseg_train.config import preset_names


def _vilseg(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _refused(result: Result, *parts: str, code: int = 2) -> None:
    assert result.exit_code == code, result.output
    [line] = result.stderr.splitlines()
    for part in ("vilseg: ", *parts):
        assert part in line


def test_train_eval_segment_in_a_row(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = _vilseg("train", "world", "--out", run, *sets(TINY), "--set", "train.steps=3")
    assert result.exit_code == 0, result.stderr
    assert "step 3/3" in result.output
    assert "Retrieval on world/val: 6 images" in result.output
    result = _vilseg("eval", run, "--data", "world", "--count", "3")
    assert result.exit_code == 0, result.stderr
    assert "mushroom*" in result.output
    results = json.loads((run / "eval" / "world" / "results.json").read_text())
    assert results["templates"] == ["a photo of a {}"]
    result = _vilseg(
        "eval", run, "--data", "world", "--count", "2", "--segmenter", "patch",
        "--templates", "{}", "--templates", "we see the {}", "--out", tmp_path / "scores",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    results = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert results["templates"] == ["{}", "we see the {}"]
    photo = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), "green").save(photo)
    result = _vilseg("segment", run, photo, "--words", "grass, brick")
    assert result.exit_code == 0, result.stderr
    assert (run / "segments" / "photo-overlay.png").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--self-train", "run", "world"], ["--self-train: expected", "came PRESET; leave that"]),
        (["--self-train", "run", "--dry-run", "--profile"], ["came --dry-run, --profile; leave"]),
        (["world", "--words", "dog"], ["--words: expected --self-train RUN beside it"]),
        (["--images", "world"], ["--images: expected --self-train RUN beside it"]),
    ],
)
def test_options_that_would_be_passed_over_are_refused(
    arguments: list[str], parts: list[str]
) -> None:
    _refused(_vilseg("train", *arguments), *parts)


def test_resume_needs_no_preset(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert _vilseg("train", "--out", run, *sets(TINY), "--set", "train.steps=1").exit_code == 0
    result = _vilseg("train", "--out", run, "--resume")
    assert result.exit_code == 0, result.stderr
    result = _vilseg("train", run / "config.toml", "--out", run, "--resume")
    assert result.exit_code == 0, result.stderr
    result = _vilseg("train", "--out", run, "--resume", "--set", "optim.lr=1")
    _refused(result, "--resume: optim.lr is 1.0 now and was 0.002")
    _refused(_vilseg("train", "--out", run), "exists and is not empty", "--resume")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["wrold"], ["unknown preset 'wrold'", "did you mean world?", "flickr8k"]),
        (["none.toml"], ["cannot read the configuration none.toml: No such file"]),
        (["--set", "optim.lrr=1"], ["unknown key optim.lrr; did you mean optim.lr?"]),
        (["--set", "optim.lr=fast"], ["optim.lr: expected a valid number", "came 'fast'"]),
        (["--set", "seed"], ["--set expects key=value"]),
        (["flickr8k"], ["data: root: expected a folder for kind 'archive'"]),
        (["flickr8k", "--set", "data.root=none"], ["none"]),
        (["flickr8k", "--set", "data.root=."], ["train.captions.json"]),
        (["--resume"], ["--resume: cannot go on in", "no checkpoint"]),
        (["--set", "train.device=abc"], ["train.device: expected auto, cpu or cuda"]),
        ([*sets(TINY), "--set", "train.batch_size=64"], ["batch_size", "64 for 20"]),
        (["--set", "model.image.image_size=60"], ["60", "patch size 8"]),
        (["--set", "views.local_size=18"], ["views.local_size", "patch size 8", "set it to 16"]),
    ],
)
def test_bad_training_input_is_one_line_and_leaves_nothing(
    arguments: list[str], parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _refused(_vilseg("train", *arguments, "--out", "run"), *parts)
    assert list(tmp_path.rglob("*")) == []


def test_captions_without_images_are_counted_and_listed(tmp_path: Path) -> None:
    rows = []
    for number in range(12):
        name = f"{number}.png"
        rows.append(f"{name}\ta picture of number {number}")
        if number % 4:
            Image.new("RGB", (32, 32), (20 * number, 0, 0)).save(tmp_path / name)
    table = tmp_path / "captions.tsv"
    table.write_text("\n".join(["image\tcaption", *rows]) + "\n")
    own = [
        *TINY,
        "data.kind=table",
        f"data.table={table}",
        "data.validation_split=",
        "train.steps=1",
    ]
    strict = _vilseg("train", *sets(own), "--out", tmp_path / "run")
    _refused(strict, "3 ", "of 12", "0.png")
    assert not (tmp_path / "run").exists()
    loose = _vilseg("train", *sets([*own, "data.max_broken=0.5"]), "--out", tmp_path / "run")
    assert loose.exit_code == 0, loose.stderr
    assert "skipped 3 of 12 samples" in loose.output.replace("\n", " ")
    listed = (tmp_path / "run" / "broken.jsonl").read_text().splitlines()
    assert len(listed) == 3


def test_bad_evaluation_input_is_one_line(own_run: Path, tmp_path: Path) -> None:
    _refused(_vilseg("eval", tmp_path, "--data", "world"), "is not a run")
    _refused(_vilseg("eval", own_run, "--data", "mars"), "mars", "voc")
    _refused(
        _vilseg("eval", own_run, "--data", "voc"), "root: expected a folder for 'voc', came none"
    )
    _refused(_vilseg("eval", own_run, "--data", "voc", "--root", tmp_path / "none"), "is no folder")
    _refused(_vilseg("eval", own_run, "--data", "world", "--templates", "a dog"), "templates")
    _refused(
        _vilseg("eval", tmp_path, "--data", "world", "--segmenter", "predictions"),
        "expected <image id>.png",
    )
    for path in (own_run / "checkpoints").iterdir():
        path.write_bytes(b"PK\x03\x04 something else")
    _refused(_vilseg("eval", own_run, "--data", "world"), "is not a vilseg checkpoint")
    assert not (own_run / "eval").exists()


def test_bad_segmentation_input_is_one_line(own_run: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (40, 30)).save(photo)
    _refused(_vilseg("segment", own_run, photo, "--words", ""), "at least one word")
    _refused(_vilseg("segment", own_run, photo, "--words", "dog, dog"), "more than once")
    (tmp_path / "text.png").write_text("no image")
    result = _vilseg("segment", own_run, tmp_path / "text.png", photo, "--words", "a, b")
    _refused(result, "cannot read", "text.png: not an image", code=1)
    assert {p.name for p in (own_run / "segments").iterdir()} == {
        "photo-overlay.png",
        "photo-labels.png",
        "photo-regions.png",
        "photo.json",
    }
    segment = ("segment", own_run, photo)
    _refused(_vilseg(*segment), "--words, --words-file: expected one of them, came neither")
    named = (*segment, "--words", "a")
    _refused(_vilseg(*named, "--combine", "sum"), "combine: expected mean or max")
    _refused(_vilseg(*named, "--templates", "clip8"), "templates: expected one of")
    _refused(_vilseg(*named, "--device", "tpu"), "--device: expected auto, cpu or cuda, came 'tpu'")
    wrong = (*named, "--segmenter-option")
    _refused(_vilseg(*wrong, "windw=8"), "unknown key windw; did you mean window?")
    _refused(_vilseg(*wrong, "window"), "--segmenter-option: expected KEY=VALUE")
    _refused(_vilseg(*wrong, "window=12"), "window: expected a multiple of the patch size")
    _refused(_vilseg("segment", own_run, tmp_path / "*.bmp", "--words", "a"), "no image matches")


def test_segmentation_of_folders_patterns_and_lists(own_run: Path, tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.jpg", "deep/c [1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), "green").save(tmp_path / name)
    words = tmp_path / "words.txt"
    words.write_text("# things\ngrass\nperson: man, woman\n")
    arguments = ["segment", own_run, "-", "--words-file", words, "--combine", "max"]
    listed = f"{tmp_path / 'deep' / 'c [1].png'}\n\n{tmp_path / 'a.png'}\n"
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=listed)
    assert result.exit_code == 0, result.stderr
    assert {p.name for p in (own_run / "segments").glob("*.json")} == {"a.json", "c [1].json"}
    assert (own_run / "cache").is_dir()
    result = _vilseg(
        "segment", own_run, tmp_path / "*.png", tmp_path / "deep", "--words", "grass, brick",
        "--templates", "{}", "--segmenter-option", "resize=short", "--no-cache",
        "--out", tmp_path / "out", "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    about = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "out").glob("*.json")}
    assert set(about) == {"a", "b", "c [1]"}
    assert about["b"]["templates"] == ["{}"]
    assert about["b"]["inference"]["resize"] == "short"


def test_traceback_is_there_for_who_asks() -> None:
    result = _vilseg("--traceback", "train", "wrold")
    assert isinstance(result.exception, ValueError)


def test_a_defect_of_ours_is_not_hidden(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("vilseg_train.evaluation.evaluate_folder", broken)
    result = _vilseg("eval", own_run, "--data", "world")
    assert isinstance(result.exception, RuntimeError)


def test_an_interrupt_is_one_line(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vilseg_train.evaluation.evaluate_folder", interrupted)
    _refused(_vilseg("eval", own_run, "--data", "world"), "interrupted", code=130)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["eval", "--help"]])
def test_help_loads_no_torch(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "from vilseg_train.cli import app\n"
        "try:\n"
        f"    app({arguments!r}, prog_name='vilseg')\n"
        "finally:\n"
        "    heavy = {'torch', 'numpy', 'timm', 'vilseg_core', 'vilseg_data', 'vilseg_eval'}\n"
        "    print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    assert "LOADED []" in done.stdout
    assert "Usage: vilseg" in done.stdout


def test_help_lists_the_commands() -> None:
    output = _vilseg("--help").output
    for command in ("train", "eval", "segment", "demo"):
        assert f" {command} " in output


def test_sigterm_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "vilseg_train", "train", "world", "--out", str(run)]
    endless = sets([*TINY, "train.steps=1000000", "train.sample_images=0"])
    process = subprocess.Popen(
        [*command, *endless],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    metrics = run / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    [line] = stderr.splitlines()
    assert line.startswith("vilseg: SIGTERM: saved step ")
    assert line.endswith(f"vilseg train --resume --out {run}")
    step = int(line.partition("saved step ")[2].partition(" ")[0])
    assert (run / "checkpoints" / f"step-{step:07d}.safetensors").exists()


def test_presets_are_in_the_package() -> None:
    assert preset_names() == ["flickr8k", "flickr8k-gpu", "paper", "world", "world-gpu"]
