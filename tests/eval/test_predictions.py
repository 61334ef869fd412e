"""Folders of label maps made elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tests.eval.fakes import MemorySet, class_list

from vilseg_data import LabelledSample, VocSegmentation
from vilseg_eval import PredictionFolder, evaluate

CLASSES = class_list(4, unseen=(2,), background=0)
TRUTH = np.array([[0, 1, 1], [2, 3, 255]])


@pytest.fixture
def dataset() -> MemorySet:
    return MemorySet(CLASSES, [torch.from_numpy(TRUTH), torch.from_numpy(TRUTH.T.copy())])


def save_png(folder: Path, name: str, labels: NDArray[np.int64], *, palette: bool) -> None:
    image = Image.fromarray(labels.astype(np.uint8))
    if palette:
        image.putpalette(list(range(256)) * 3)
    image.save(folder / f"{name}.png")


@pytest.mark.parametrize("form", ["palette", "grey", "int64", "uint16", "int8"])
def test_all_forms_of_label_maps_score_the_same(
    tmp_path: Path, dataset: MemorySet, form: str
) -> None:
    for name, labels in (("image0", TRUTH), ("image1", TRUTH.T)):
        guess = np.where(labels == 255, 3, labels)
        if form in ("palette", "grey"):
            save_png(tmp_path, name, guess, palette=form == "palette")
        else:
            np.save(tmp_path / f"{name}.npy", guess.astype(form))
    folder = PredictionFolder(tmp_path, classes=CLASSES)
    assert folder.words == ("word 1", "word 2", "word 3")
    results = evaluate(folder, dataset).results
    assert results["segmenter"] == "predictions"
    assert results["names"] == ["word 1", "word 2", "word 3"]
    assert results["templates"] == []
    assert results["protocols"]["all"]["miou"] == 1
    assert results["protocols"]["zlss"] is None


def test_background_predicted_on_a_class_is_a_miss_and_no_false_positive(
    tmp_path: Path, dataset: MemorySet
) -> None:
    np.save(tmp_path / "image0.npy", np.zeros_like(TRUTH))
    np.save(tmp_path / "image1.npy", np.where(TRUTH.T == 255, 3, TRUTH.T))
    result = evaluate(PredictionFolder(tmp_path, classes=CLASSES), dataset)
    assert result.results["protocols"]["all"]["iou"] == {
        "class1": 0.5,
        "class2": 0.5,
        "class3": 0.5,
    }
    assert result.matrices["all"].counts[:, -1].tolist() == [2, 2, 1, 1]


def test_255_passes_only_where_the_ground_truth_is_255(tmp_path: Path, dataset: MemorySet) -> None:
    np.save(tmp_path / "image0.npy", TRUTH)
    np.save(tmp_path / "image1.npy", TRUTH.T)
    folder = PredictionFolder(tmp_path, classes=CLASSES)
    assert evaluate(folder, dataset).results["protocols"]["all"]["miou"] == 1
    np.save(tmp_path / "image0.npy", np.where(TRUTH == 1, 255, TRUTH))
    with pytest.raises(ValueError, match=r"1 of 2 .*\n  image0: .* on labelled pixels, got \[255"):
        evaluate(folder, dataset)


def test_everything_wrong_is_listed_at_once(tmp_path: Path) -> None:
    maps = [torch.from_numpy(TRUTH)] * 8
    np.save(tmp_path / "image0.npy", TRUTH[:, :2])
    np.save(tmp_path / "image1.npy", np.where(TRUTH == 1, 9, TRUTH))
    np.save(tmp_path / "image2.npy", TRUTH.astype(np.float32))
    np.save(tmp_path / "image3.npy", np.where(TRUTH == 1, -1, TRUTH))
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / "image4.png")
    (tmp_path / "image5.png").write_bytes(b"no picture")
    (tmp_path / "image6.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="8 of 8 images cannot be scored") as caught:
        evaluate(PredictionFolder(tmp_path, classes=CLASSES), MemorySet(CLASSES, maps))
    lines = str(caught.value).splitlines()[1:]
    for line, part in zip(
        lines,
        (
            "image0: the label map is 2 x 2 (width x height), its image is 3 x 2",
            "image1: ids [9] are not the data set's (0 to 3)",
            "image2: image2.npy holds float32, expected integer class ids",
            "image3: ids [-1] are not the data set's",
            "image4: image4.png holds colours (mode RGB), expected class ids",
            "image5: image5.png cannot be read: ",
            "image6: image6.npy cannot be read: ",
            "image7: no image7.png or image7.npy in",
        ),
        strict=True,
    ):
        assert part in line


def test_long_lists_are_cut(tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", TRUTH)
    maps = [torch.from_numpy(TRUTH)] * 12
    with pytest.raises(ValueError, match="12 of 12") as caught:
        evaluate(PredictionFolder(tmp_path, classes=CLASSES), MemorySet(CLASSES, maps))
    assert str(caught.value).endswith("\n  and 2 more")


def test_folders_without_label_maps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"root: expected <image id>\.png or \.npy files in"):
        PredictionFolder(tmp_path, classes=CLASSES)
    with pytest.raises(ValueError, match="root: expected a folder of label maps, found none at"):
        PredictionFolder(tmp_path / "missing", classes=CLASSES)


class _First:
    """The first images of a labelled set."""

    def __init__(self, whole: VocSegmentation, count: int) -> None:
        self.whole, self.count = whole, count
        self.name, self.classes = whole.name, whole.classes

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> LabelledSample:
        return self.whole[index]


def test_real_masks_score_one_against_themselves(shared_data: Path) -> None:
    root = shared_data / "voc_320"
    dataset = _First(VocSegmentation(root, split="train_original"), 12)
    folder = PredictionFolder(root / "SegmentationClass", classes=dataset.classes)
    results = evaluate(folder, dataset).results
    assert len(results["names"]) == 20
    assert set(results["protocols"]["all"]["iou"].values()) == {1.0, None}
    assert list(results["protocols"]["gzlss"]["iou"]) == [
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ]
