"""Labelled sets by name."""

from pathlib import Path

import numpy as np
import pytest
from tests.data.labelled.layouts import (
    ids_in,
    mask_of,
    write_list,
    write_photos,
    write_pngs,
)
from tests.data.sources import write_voc

from vilseg_data import VocSegmentation, WorldLabelled, build_labelled
from vilseg_data.labelled.build import LABELLED_SETS
from vilseg_data.world import WORLDS


def test_world() -> None:
    default = build_labelled("world")
    assert isinstance(default, WorldLabelled)
    assert (default.split, len(default), default.image_size) == ("val", 200, 64)
    other = build_labelled("world", split="test", count=3, size=40, seed=2)
    assert isinstance(other, WorldLabelled)
    assert (other.split, len(other), other.image_size, other.seed) == ("test", 3, 40, 2)


def test_voc(tmp_path: Path) -> None:
    masks = {name: np.ones((4, 5)) for name in "ab"}
    write_voc(tmp_path, masks)
    write_voc(tmp_path, masks, split="mine")
    default = build_labelled("voc", root=str(tmp_path))
    assert isinstance(default, VocSegmentation)
    assert (default.split, len(default)) == ("val", 2)
    assert len(build_labelled("voc", root=tmp_path, split="mine", count=1)) == 1
    assert build_labelled("voc", root=tmp_path, unseen="zs3-2").classes.unseen == (10, 14)


def _write(root: Path, name: str) -> Path:
    masks = {"a": mask_of(1, 2), "b": mask_of(3)}
    if name.startswith("voc"):
        write_pngs(root / "SegmentationClassAug", masks)
        return write_voc(root, masks)
    if name.startswith("context"):
        write_photos(root / "JPEGImages", masks)
        write_pngs(root / "SegmentationClassContext", masks)
        write_list(root / "ImageSets" / "SegmentationContext", "val", masks)
        return root
    if name == "folder":
        write_photos(root / "images", masks)
        (root / "classes.txt").write_text("a\nb\nc\nd\n")
        write_pngs(root / "masks", masks)
        return root
    write_photos(root / "images" / "val2017", masks)
    write_pngs(root / "annotations" / "val2017", masks)
    return root


@pytest.mark.parametrize("name", [name for name in LABELLED_SETS if name not in WORLDS])
def test_every_set_on_disk_by_its_name(tmp_path: Path, name: str) -> None:
    data = build_labelled(name, root=_write(tmp_path, name), count=1)
    assert (data.name, len(data), data[0].key) == (name, 1, "a")
    numbers = [int(part) for part in name.split("-") if part.isdigit()]
    assert numbers in ([], [len(data.classes)])
    assert max({0, *ids_in(data[0].labels)} - {255}) < len(data.classes)
    with pytest.raises(ValueError, match="count: expected at least 1, came 0"):
        build_labelled(name, root=tmp_path, count=0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ade", {}, r"name: expected one of \['coco-object', .*, 'world2'\], came 'ade'"),
        ("voc", {}, "root: expected a folder for 'voc', came none; give the folder"),
        ("coco-stuff", {}, "root: expected a folder for 'coco-stuff', came none"),
        (
            "world",
            {"unseen": "spnet"},
            "unseen: expected none for 'world', came 'spnet'; its unseen",
        ),
        ("folder", {"unseen": "spnet"}, "unseen: expected none for 'folder', came 'spnet'"),
        ("coco-object", {"unseen": "spnet"}, "unseen: expected none for 'coco-object'"),
        ("voc", {"root": "x", "size": 3}, "size: expected none for 'voc', came 3"),
        ("world", {"root": "x"}, "root: expected none for 'world', came x"),
    ],
)
def test_bad_arguments(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_labelled(name, **options)  # type: ignore[arg-type]
