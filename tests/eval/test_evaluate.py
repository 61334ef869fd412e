"""Images through a segmenter: what is scored, recorded, refused, saved and computed again."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.eval.fakes import MapSegmenter, MemorySet, ScoreSegmenter, class_list
from tests.eval.oracles import intersect_and_union, nanmean, pooled_recall
from torch import Tensor

from vilseg_data import ClassList, build_labelled
from vilseg_data.labelled.layout import list_hash
from vilseg_eval import DenseSegmentation, evaluate, files, load_result, rescore

VOC_LIKE = class_list(6, unseen=(2, 5), background=0)
WORLD_LIKE = class_list(5, unseen=(1, 4))


def random_case(
    seed: int, *, classes: ClassList, images: int = 4
) -> tuple[MemorySet, dict[str, Tensor]]:
    """Label maps of odd sizes with ignored pixels, and random scores of every word."""
    rng = np.random.default_rng(seed)
    count = len(classes.names)
    words = count - (classes.background is not None)
    sizes = [(int(rng.integers(1, 7)), int(rng.integers(1, 7))) for _ in range(images)]
    maps = [torch.from_numpy(rng.choice([*range(count), 255], size)) for size in sizes]
    scores = {
        f"image{i}": torch.from_numpy(rng.random((words, *size))) for i, size in enumerate(sizes)
    }
    return MemorySet(classes, maps), scores


@given(st.integers(0, 2**32 - 1), st.sampled_from([VOC_LIKE, WORLD_LIKE]))
@settings(max_examples=30)
def test_every_protocol_comes_from_one_pass(seed: int, classes: ClassList) -> None:
    dataset, scores = random_case(seed, classes=classes)
    results = evaluate(ScoreSegmenter(classes, scores), dataset, batch_size=3).results
    first = 0 if classes.background is None else 1
    every = list(range(first, len(classes.names)))
    unseen = list(classes.unseen)
    seen = {c for c in every if c not in unseen}
    drop = {255} | ({0} if first else set())
    for name, candidates, scored, ignore in (
        ("gzlss", every, unseen, drop),
        ("all", every, every, drop),
        ("zlss", unseen, unseen, drop | seen),
    ):
        pairs = []
        for i, truth in enumerate(dataset.maps):
            s = scores[f"image{i}"][[c - first for c in candidates]]
            pairs.append((truth.numpy(), np.array(candidates)[s.argmax(0).numpy()]))
        iou = nanmean(intersect_and_union(pairs, classes=scored, ignore=ignore))
        recall = pooled_recall(pairs, classes=unseen)
        measured = results["protocols"][name]
        assert measured["miou"] == (None if np.isnan(iou) else pytest.approx(iou))
        assert measured["accuracy"]["unseen_recall"] == (
            None if np.isnan(recall) else pytest.approx(recall)
        )
        assert list(measured["iou"]) == [classes.names[c] for c in scored]


def test_results_record_what_was_done() -> None:
    dataset, scores = random_case(0, classes=VOC_LIKE)
    calls: list[tuple[int, int]] = []
    result = evaluate(
        ScoreSegmenter(VOC_LIKE, scores),
        dataset,
        split="val",
        batch_size=3,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(3, 4), (4, 4)]
    recorded = {k: v for k, v in result.results.items() if k not in ("protocols", "chance")}
    versions = recorded.pop("versions")
    examples = recorded.pop("examples")
    assert recorded == {
        "schema": 2,
        "segmenter": "scores",
        "data": "memory",
        "split": "val",
        "images": 4,
        "names": ["word 1", "word 2", "word 3", "word 4", "word 5"],
        "words": [["word 1"], ["word 2"], ["word 3"], ["word 4"], ["word 5"]],
        "labels": list(VOC_LIKE.names),
        "unseen": ["class2", "class5"],
        "background_class": "background",
        "background_words": [],
        "templates": ["a photo of a {}"],
        "name_set": None,
        "template_set": None,
        "background": "ignore",
        "abstention": None,
        "risk_coverage": None,
        "absent": "skip",
        "resolution": "native",
        "inference": {},
        "list_hash": list_hash(f"image{i}" for i in range(4)),
        "weights_hash": None,
        "run": None,
        "bootstrap": {"replicates": 1000, "level": 0.95, "seed": 0},
    }
    assert versions["torch"] == torch.__version__
    assert set(examples) == {"best", "median", "worst"}
    for group in ("protocols", "chance"):
        assert list(result.results[group]) == ["gzlss", "seen", "harmonic", "all", "zlss"]
        for name, scored in result.results[group].items():
            beside = [] if name != "harmonic" else ["seen", "unseen"]
            ends = [] if group == "chance" else ["interval"]
            assert list(scored) == ["miou", "accuracy", "iou", "absent", *beside, *ends]
            assert list(scored["accuracy"]) == ["unseen_recall", "overall", "class_mean"]


@given(st.integers(0, 2**32 - 1), st.permutations(range(4)), st.integers(1, 5))
@settings(max_examples=20)
def test_order_and_batches_of_images_change_nothing(
    seed: int, order: list[int], batch_size: int
) -> None:
    dataset, scores = random_case(seed, classes=VOC_LIKE)
    shuffled = MemorySet(VOC_LIKE, [dataset.maps[i] for i in order])
    renamed = {f"image{new}": scores[f"image{old}"] for new, old in enumerate(order)}
    plain = evaluate(ScoreSegmenter(VOC_LIKE, scores), dataset)
    other = evaluate(ScoreSegmenter(VOC_LIKE, renamed), shuffled, batch_size=batch_size)
    for name, matrix in plain.matrices.items():
        assert torch.equal(matrix.counts, other.matrices[name].counts)
    for scored, others in zip(
        plain.results["protocols"].values(), other.results["protocols"].values(), strict=True
    ):
        assert {**scored, "interval": None} == {**others, "interval": None}


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_saved_matrices_give_the_same_numbers_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("saved")
    dataset, scores = random_case(seed, classes=VOC_LIKE)
    result = evaluate(ScoreSegmenter(VOC_LIKE, scores), dataset)
    result.save(folder)
    written = (folder / "results.json").read_text()
    (folder / "results.json").unlink()
    again = load_result(folder)
    assert rescore(folder) == again.results == result.results == json.loads(written)
    again.save(folder)
    assert (folder / "results.json").read_text() == written
    with np.load(folder / "confusion.npz", allow_pickle=False) as archive:
        assert archive["names"].tolist() == list(VOC_LIKE.names)
        for name in ("counts_all", "counts_unseen"):
            assert archive[name].dtype == np.int64
            assert archive[name].shape == (6, 7)
            assert archive[name].sum() == sum(int((m != 255).sum()) for m in dataset.maps)


def test_label_maps_alone_leave_the_restricted_setting_open() -> None:
    dataset, _ = random_case(1, classes=VOC_LIKE)
    truth = {f"image{i}": m.where(m != 255, 3) for i, m in enumerate(dataset.maps)}
    result = evaluate(MapSegmenter(VOC_LIKE, truth), dataset)
    assert result.results["protocols"]["zlss"] is None
    assert result.results["protocols"]["all"]["miou"] == 1
    assert result.results["protocols"]["gzlss"]["accuracy"]["unseen_recall"] == 1
    assert result.results["chance"]["zlss"]["miou"] is not None
    assert list(result.matrices) == ["all"]


def test_the_built_in_world_evaluates_perfectly_against_itself() -> None:
    dataset = build_labelled("world", split="val", count=6, size=64)
    truth = {dataset[i].key: dataset[i].labels for i in range(len(dataset))}
    results = evaluate(MapSegmenter(dataset.classes, truth), dataset).results
    assert results["images"] == 6
    assert results["protocols"]["all"]["miou"] == 1
    assert results["chance"]["all"]["miou"] < 0.2


def test_unusable_input_is_refused() -> None:
    dataset, scores = random_case(0, classes=VOC_LIKE)
    segmenter = ScoreSegmenter(VOC_LIKE, scores)
    with pytest.raises(ValueError, match="dataset: memory holds no images"):
        evaluate(segmenter, MemorySet(VOC_LIKE, []))
    with pytest.raises(ValueError, match="batch_size: expected at least 1, got 0"):
        evaluate(segmenter, dataset, batch_size=0)
    segmenter.words = segmenter.words[1:]
    with pytest.raises(ValueError, match="segmenter: expected 5 words, one for each foreground"):
        evaluate(segmenter, dataset)


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "other"])
def test_damaged_matrices_are_refused(tmp_path: Path, damage: str) -> None:
    dataset, scores = random_case(0, classes=VOC_LIKE)
    evaluate(ScoreSegmenter(VOC_LIKE, scores), dataset).save(tmp_path)
    file = tmp_path / "confusion.npz"
    if damage == "missing":
        file.unlink()
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "text":
        file.write_text("no archive")
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:-40])
    else:
        np.savez(file, something=np.zeros(3))
    with pytest.raises(ValueError, match=r"folder: .*evaluat"):
        rescore(tmp_path)


@pytest.mark.parametrize("writes_before_full", [0, 1, 2])
def test_a_full_disk_leaves_the_old_results_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes_before_full: int
) -> None:
    left = iter([True] * writes_before_full)

    def fsync(_: int) -> None:
        if not next(left, False):
            raise OSError(28, "No space left on device")

    dataset, scores = random_case(0, classes=VOC_LIKE)
    result = evaluate(ScoreSegmenter(VOC_LIKE, scores), dataset)
    result.save(tmp_path)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(os, "fsync", fsync)
    other, scores = random_case(1, classes=VOC_LIKE)
    full = ("confusion.npz", "images.csv", "results.json")[writes_before_full]
    with pytest.raises(OSError, match=f"No space left on device: .*{full}"):
        evaluate(ScoreSegmenter(VOC_LIKE, scores), other).save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    ordinary, written = tmp_path / "ordinary", tmp_path / "written"
    ordinary.write_bytes(b"")
    files.write_atomically({written: b""})
    assert written.stat().st_mode == ordinary.stat().st_mode


def test_labels_of_another_size_are_listed_with_their_image() -> None:
    dataset, scores = random_case(0, classes=VOC_LIKE)

    class Small(ScoreSegmenter):
        def segment(
            self, images: Sequence[Tensor], keys: Sequence[str], /
        ) -> list[DenseSegmentation]:
            return [
                DenseSegmentation(answer.scores, (1, 99))
                for answer in super().segment(images, keys)
            ]

    with pytest.raises(ValueError, match=r"4 of 4 .*\n  image0: .* expected equal shapes, got \(1"):
        evaluate(Small(VOC_LIKE, scores), dataset)
