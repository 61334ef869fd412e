"""What is exported answers as the run does, for other numbers of images and words too."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.train.conftest import quiet, said
from torch import Tensor, nn
from typer.testing import CliRunner

from vilseg_eval import ViLSegSegmenter
from vilseg_train import open_run
from vilseg_train.cli import app
from vilseg_train.deployment import Deployment
from vilseg_train.errors import ExportError
from vilseg_train.export import FORMATS, compare, export_run, sidecar, words_file

WORDS = ("grass", "brick", "ball", "kite")


def pictures(count: int, *, side: int = 32) -> Tensor:
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    grown = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return (grown * 255).round().byte()


@pytest.mark.parametrize("count", [1, 5])
def test_the_graph_is_the_segmenter(finished_run: Path, count: int) -> None:
    run = open_run(finished_run)
    segmenter = ViLSegSegmenter(run.model, run.tokenizer, WORDS)
    images = pictures(count)
    with torch.no_grad():
        labels, clusters, scores = Deployment(run.model)(images / 255, segmenter.word_embeddings)
    for number, answer in enumerate(segmenter.segment(list(images))):
        assert torch.equal(labels[number], answer.labels(range(len(WORDS))))
        present = torch.unique(clusters[number])
        torch.testing.assert_close(scores[number, present], answer.scores, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_answers_as_its_checkpoint(finished_run: Path, tmp_path: Path, form: str) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    out, console = tmp_path / {"onnx": "model.onnx", "torch": "model.pt2"}[form], quiet()
    parity = export_run(finished_run, out=out, form=form, words=WORDS, console=console)
    assert parity.within_tolerance()
    assert "largest difference from the checkpoint" in said(console)
    run = open_run(finished_run)
    again = compare(Deployment(run.model).eval(), FORMATS[form][1](out), run=run)
    assert again.within_tolerance()
    with np.load(words_file(out)) as kept:
        assert tuple(kept["words"]) == WORDS
        expected = ViLSegSegmenter(run.model, run.tokenizer, WORDS).word_embeddings
        np.testing.assert_array_equal(kept["embeddings"], expected.numpy())
    about = json.loads(sidecar(out).read_text())
    assert (about["format"], about["step"], list(about["outputs"])) == (
        form, 6, ["labels", "clusters", "scores"],
    )  # fmt: skip


def test_a_file_that_answers_otherwise_is_not_kept(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_module: nn.Module, _example: tuple[Tensor, Tensor], path: Path) -> None:
        path.write_bytes(b"other weights")

    def read(_path: Path) -> Deployment:
        other = open_run(finished_run).model
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.mul_(-1.5)
        return Deployment(other)

    monkeypatch.setitem(FORMATS, "torch", (write, read))
    out = tmp_path / "model.pt2"
    with pytest.raises(ExportError, match="expected the file to answer as the checkpoint"):
        export_run(finished_run, out=out, form="torch", console=quiet())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said_of_it"),
    [
        (["--format", "tflite"], "--format: expected one of onnx, torch, came 'tflite'"),
        (["--format", "torch", "--words", " , "], "--words: expected words"),
    ],
)
def test_bad_options_are_refused(
    finished_run: Path, tmp_path: Path, options: list[str], said_of_it: str
) -> None:
    out = tmp_path / "model.pt2"
    result = CliRunner().invoke(app, ["export", str(finished_run), "--out", str(out), *options])
    assert result.exit_code == 2
    assert said_of_it in result.stderr
    assert not out.exists()


def test_a_missing_library_is_named_with_its_remedy(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ValueError, match=r"onnxscript, which is not installed; pip install"):
        export_run(finished_run, out=tmp_path / "m.onnx", console=quiet())
