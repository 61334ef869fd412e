"""Real photos of COCO: masks of documented ids, decoded by the set's own names."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.labelled.layouts import ids_in, write_list

from vilseg_data.labelled import CocoStuff, FolderSet, coco_classes


@pytest.fixture
def coco_320(shared_data: Path) -> Path:
    return shared_data / "coco_320"


def values_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def names_in(path: Path) -> dict[int, str]:
    return {int(k): name for k, name in json.loads(path.read_text()).items()}


def test_official_ids_of_things_have_these_names(coco_320: Path) -> None:
    names = coco_classes(182).names
    for file in ("thing_classes.json", "panoptic_classes.json"):
        things = {k: n for k, n in names_in(coco_320 / file).items() if 1 <= k <= 90}
        assert len(things) > 60
        assert {k: names[k - 1] for k in things} == things


@pytest.mark.parametrize(
    ("masks", "classes", "count"),
    [("masks_panoptic", "panoptic_classes.json", 100), ("masks_things", "thing_classes.json", 80)],
)
def test_a_folder_of_masks_with_gaps_in_their_ids(
    coco_320: Path, tmp_path: Path, masks: str, classes: str, count: int
) -> None:
    documented = {0: "unlabeled"} | names_in(coco_320 / classes)
    (tmp_path / "classes.txt").write_text("".join(f"{k}: {n}\n" for k, n in documented.items()))
    (tmp_path / "images").symlink_to(coco_320 / "images" / "train2017")
    (tmp_path / "masks").symlink_to(coco_320 / masks / "train2017")
    keys = sorted(path.stem for path in (tmp_path / "masks").iterdir())
    write_list(tmp_path / "splits", "val", keys)
    data = FolderSet(tmp_path)
    assert (len(data), data.keys()) == (count, keys)
    met: set[str] = set()
    for index in range(0, count, 5):
        sample = data[index]
        values, labels = values_of(tmp_path / "masks" / f"{sample.key}.png"), sample.labels.numpy()
        assert sample.image.shape[1:] == labels.shape == values.shape
        for value in ids_in(values):
            [label] = ids_in(labels[values == value])
            if value == 0:
                assert label == 255
            else:
                assert data.classes.names[label] == documented[value]
                met.add(documented[value])
    assert "person" in met
    assert len(met) > 15


@pytest.mark.parametrize(("classes", "unlabelled"), [(171, 255), (182, 255), (81, 0)])
def test_things_as_pixel_maps(
    coco_320: Path, tmp_path: Path, classes: int, unlabelled: int
) -> None:
    documented = names_in(coco_320 / "thing_classes.json")
    maps, photos = (tmp_path / part / "train2017" for part in ("annotations", "images"))
    for folder in (maps, photos):
        folder.mkdir(parents=True)
    for path in sorted((coco_320 / "masks_things" / "train2017").iterdir())[::8]:
        # The published pixel maps hold the official id less one, and 255 where nothing is labelled.
        Image.fromarray((values_of(path).astype(int) - 1).astype(np.uint8)).save(maps / path.name)
        photo = coco_320 / "images" / "train2017" / f"{path.stem}.jpg"
        (photos / photo.name).symlink_to(photo)
    data = CocoStuff(tmp_path, split="train", classes=classes)  # type: ignore[arg-type]
    assert len(data) == 10
    for sample in map(data.__getitem__, range(10)):
        values = values_of(coco_320 / "masks_things" / "train2017" / f"{sample.key}.png")
        for value in ids_in(values):
            [label] = ids_in(sample.labels.numpy()[values == value])
            if value == 0:
                assert label == unlabelled
            else:
                assert data.classes.names[label] == documented[value]
