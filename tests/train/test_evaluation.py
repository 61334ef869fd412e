import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.train.conftest import quiet, said

from vilseg_data import WorldLabelled, build_labelled
from vilseg_eval import evaluate, rescore
from vilseg_train import CheckpointError, open_run
from vilseg_train.checkpoint import list_checkpoints
from vilseg_train.evaluation import Subject, evaluate_folder
from vilseg_train.evaluation_options import EvalOptions
from vilseg_train.rescoring import rescore_folder
from vilseg_train.segmenter_choice import build_segmenter
from vilseg_train.word_audit import audit_folder, is_audit

FILES = {
    "results.json", "confusion.npz", "images.csv", "examples.npz",
    "report.html", "table.md", "protocols.csv", "classes.csv",
}  # fmt: skip


@pytest.mark.parametrize("segmenter", ["vilseg", "patch"])
def test_a_run_is_scored_as_evaluate_scores_it(segmenter: str, own_run: Path) -> None:
    console = quiet()
    evaluate_folder(own_run, data="world", count=5, segmenter=segmenter, console=console)
    target = own_run / "eval" / ("world" if segmenter == "vilseg" else "world-patch")
    assert {path.name for path in target.iterdir()} == FILES
    dataset = build_labelled("world", count=5)
    run = open_run(own_run)
    built = build_segmenter(segmenter, run, words=dataset.classes.prompts)
    direct = evaluate(built, dataset, split="val")
    saved = json.loads((target / "results.json").read_text())
    assert saved["protocols"] == direct.results["protocols"]
    assert (saved["segmenter"], saved["data"], saved["images"]) == (segmenter, "world", 5)
    assert rescore(target)["protocols"] == saved["protocols"]
    for name in dataset.classes.names:
        assert name in said(console)
    assert "<img" in (target / "report.html").read_text()


def test_a_full_disk_leaves_no_file_of_a_scored_run(
    own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def full(handle: int) -> None:
        synced.append(handle)
        if len(synced) == len(FILES):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*eval/world/"):
        evaluate_folder(own_run, data="world", count=2, console=quiet())
    assert [path.name for path in (own_run / "eval" / "world").iterdir()] == [".journal"]


def test_a_file_in_the_place_of_the_scores_is_refused_before_the_work(own_run: Path) -> None:
    console = quiet()
    with pytest.raises(ValueError, match=r"--out .*config.toml is a file; give a folder"):
        evaluate_folder(own_run, data="world", out=own_run / "config.toml", console=console)
    assert said(console) == ""


def test_label_maps_made_by_anything_are_scored(tmp_path: Path) -> None:
    folder = tmp_path / "maps"
    folder.mkdir()
    for sample in map(WorldLabelled(count=4).__getitem__, range(4)):
        Image.fromarray(sample.labels.byte().numpy()).save(folder / f"{sample.key}.png")
    result = evaluate_folder(
        folder, data="world", count=4, segmenter="predictions", console=quiet()
    )
    assert result.results["protocols"]["all"]["miou"] == 1.0
    assert {p.name for p in (folder / "eval" / "world-predictions").iterdir()} == FILES


def _voc(root: Path, mask: Image.Image) -> Path:
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets" / "val.txt").write_text("one\n")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / "JPEGImages" / "one.jpg")
    mask.save(root / "SegmentationClass" / "one.png")
    return root


def test_other_sets_on_disk_are_scored_with_their_notes(own_run: Path, tmp_path: Path) -> None:
    for part, mode in (("images", "RGB"), ("annotations", "L")):
        (tmp_path / part / "val2017").mkdir(parents=True)
        file = tmp_path / part / "val2017" / f"1.{'jpg' if mode == 'RGB' else 'png'}"
        Image.new(mode, (8, 8)).save(file)
    console = quiet()
    result = evaluate_folder(own_run, data="coco-stuff", root=tmp_path, console=console)
    assert (result.results["data"], result.results["images"]) == ("coco-stuff", 1)
    assert len(result.results["names"]) == 171
    assert "note: val lists 1 ids and is not the official list of 5000" in said(console)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (Image.new("RGB", (8, 8)), "one.png.*mode RGB.*converted to colours"),
        (Image.new("L", (8, 8), 77), r"one.png.*ids \[77\]"),
        (Image.new("L", (9, 8), 1), "one.png.*9 x 8 pixels"),
    ],
)
def test_wrong_masks_name_the_file_and_the_reason(
    mask: Image.Image, message: str, own_run: Path, tmp_path: Path
) -> None:
    root = _voc(tmp_path / "voc", mask)
    with pytest.raises(ValueError, match=message):
        evaluate_folder(own_run, data="voc", root=root, console=quiet())
    assert not (own_run / "eval").exists()


def test_real_photos_are_scored(shared_data: Path, own_run: Path) -> None:
    console = quiet()
    root = shared_data / "voc_320"
    result = evaluate_folder(
        own_run, data="voc", root=root, split="train_original", count=3, console=console
    )
    assert result.results["images"] == 3
    assert "potted plant" in result.results["names"]
    assert "pottedplant*" in said(console)


def test_what_cannot_be_evaluated_is_refused(own_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--segmenter: expected one of vilseg, kmeans, patch"):
        evaluate_folder(own_run, data="world", segmenter="other", console=quiet())
    with pytest.raises(ValueError, match=r"name: expected one of .*came 'mars'"):
        evaluate_folder(own_run, data="mars", console=quiet())
    with pytest.raises(CheckpointError, match="is not a run: it has no folder checkpoints"):
        evaluate_folder(tmp_path, data="world", console=quiet())
    assert not (own_run / "eval").exists()


def test_a_corrupt_newest_checkpoint_falls_back_and_says_so(
    own_run: Path, finished_run: Path
) -> None:
    newest = list_checkpoints(own_run / "checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:-10])
    run = open_run(own_run)
    assert run.step == 4
    assert len(run.warnings) == 1
    assert "step-0000006.safetensors is truncated" in run.warnings[0]
    assert "using step-0000004.safetensors" in run.warnings[0]
    console = quiet()
    evaluate_folder(own_run, data="world", count=2, console=console)
    assert "warning: " in said(console)
    shutil.rmtree(own_run / "checkpoints")
    (own_run / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        open_run(own_run)
    assert open_run(finished_run).step == 6


def test_an_opened_run_embeds_as_the_trained_model_did(finished_run: Path) -> None:
    run = open_run(finished_run)
    again = open_run(str(finished_run))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = (r.model.encode_image(images).pooled for r in (run, again))
    assert torch.equal(first, second)
    assert torch.equal(run.tokenizer(["a red ball"]), again.tokenizer(["a red ball"]))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_scoring_again_writes_the_same_bytes_or_what_is_asked(own_run: Path) -> None:
    console = quiet()
    evaluate_folder(own_run, data="world", count=4, console=console)
    target = own_run / "eval" / "world"
    before = bytes_of(target)
    rescore_folder(target, console=console, options=EvalOptions())
    assert bytes_of(target) == before
    again = quiet()
    options = EvalOptions(protocols=("vilseg-table1",), absent="zero", replicates=10)
    result = rescore_folder(target, console=again, options=options, intervals=True)
    assert result.results["absent"] == "zero"
    assert result.results["bootstrap"]["replicates"] == 10
    assert "gzlss" in said(again)
    assert "harmonic" not in said(again)
    with pytest.raises(ValueError, match="--protocol: all-background counts background"):
        rescore_folder(target, console=again, options=EvalOptions(protocols=("all-background",)))
    rescore_folder(target, console=console, options=EvalOptions(absent="skip"), intervals=True)
    assert bytes_of(target) == before


@pytest.mark.parametrize(
    "background", ["class", "words:sky, wall", "threshold:0.05", "auto:captioned"]
)
def test_background_is_a_class_beside_protocols_that_ignore_it(
    background: str, shared_data: Path, own_run: Path
) -> None:
    root = shared_data / "voc_320"
    common = {"data": "voc", "root": root, "split": "sbd_mask", "count": 4, "console": quiet()}
    plain = evaluate_folder(own_run, **common, out=own_run / "plain")  # type: ignore[arg-type]
    options = EvalOptions(background=background, protocols=("ovs-background", "gzlss"))
    if background.startswith("auto"):
        with pytest.raises(ValueError, match="captioned"):
            evaluate_folder(own_run, **common, options=options)  # type: ignore[arg-type]
        return
    counted = evaluate_folder(own_run, **common, options=options)  # type: ignore[arg-type]
    protocols = counted.results["protocols"]
    assert next(iter(protocols["all-background"]["iou"])) == "background"
    for name, scored in plain.results["protocols"].items():
        assert protocols[name] == scored
    assert counted.results["weights_hash"] == plain.results["weights_hash"]


def test_a_photo_without_background_scores_as_in_the_set_without(
    shared_data: Path, own_run: Path
) -> None:
    root = shared_data / "voc_320"
    found = [
        evaluate_folder(
            own_run, data=data, root=root, split="train_original", count=3, console=quiet()
        ).results["protocols"]
        for data in ("voc", "voc-20")
    ]
    assert found[0] == found[1]


def test_several_names_and_templates_are_one_table(own_run: Path, tmp_path: Path) -> None:
    names = tmp_path / "other.txt"
    names.write_text("grass: lawn, meadow\n")
    console = quiet()
    options = EvalOptions(names=("dataset", str(names)))
    templates = ["single", "simple"]
    subject = Subject(folder=own_run, data="world", count=4, options=options)
    assert is_audit(subject, templates)
    summary = audit_folder(subject, templates=templates, console=console)
    target = own_run / "eval" / "world-words"
    assert json.loads((target / "audit.json").read_text()) == summary
    assert (summary["names"], summary["templates"]) == (["dataset", "other"], templates)
    assert "spread" in said(console)
    one = EvalOptions(names=(str(names),))
    alone = evaluate_folder(
        own_run, data="world", count=4, templates=["simple"], options=one, console=console
    )
    cell = rescore(target / "other-simple")
    assert cell["protocols"] == alone.results["protocols"]
    assert cell["words"][alone.results["names"].index("lawn")] == ["lawn", "meadow"]
    assert not (target / ".journal").exists()


def test_what_does_not_fit_together_is_refused_before_the_work(
    own_run: Path, tmp_path: Path
) -> None:
    for options, message in (
        (EvalOptions(protocols=("zs3",), absent="skip"), "--absent: .*with 'zero', came 'skip'"),
        (EvalOptions(protocols=("all-background",)), "add --background class"),
        (EvalOptions(protocols=("tabel1",)), "protocol: expected one of gzlss"),
        (EvalOptions(background="sometimes"), "background: expected ignore, class"),
        (EvalOptions(absent="never"), "absent: expected skip, zero, error"),
        (EvalOptions(resolution="short448"), "--segmenter-option image_size=448"),
        (EvalOptions(background="class"), "class needs a set with a background class"),
        (EvalOptions(names=("sclip",)), r"a scheme that covers world \(dataset\)"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate_folder(own_run, data="world", options=options, console=quiet())
    assert not (own_run / "eval").exists()
    with pytest.raises(ValueError, match=r"folder: no confusion\.npz"):
        rescore_folder(tmp_path, console=quiet(), options=EvalOptions())
