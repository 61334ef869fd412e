"""COCO-Stuff: 182 ids, 171 classes and 80 objects from the same files."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.labelled.layouts import (
    Masks,
    ids_in,
    mask_of,
    write_list,
    write_mats,
    write_photos,
    write_pngs,
)

from vilseg_data import BrokenSampleError, LabelledSet
from vilseg_data.labelled import CocoStuff, coco, coco_classes
from vilseg_data.labelled.coco import coco_table
from vilseg_data.labelled.layout import list_hash
from vilseg_data.labelled.masks import UNKNOWN, relabel

Count = Literal[182, 171, 81]
COUNTS: tuple[Count, ...] = (182, 171, 81)
# research: the ids that were never annotated, as values of the pixel maps.
EMPTY = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
REAL = [k for k in range(182) if k not in EMPTY]


def write_164k(
    root: Path, masks: Masks, *, split: str = "val2017", place: str = "annotations"
) -> Path:
    write_photos(root / "images" / split, masks)
    write_pngs(root / place / split, masks)
    return root


def write_10k(root: Path, masks: Masks) -> Path:
    """`masks` of values as in the pixel maps; the .mat files hold official ids."""
    write_photos(root / "images", masks)
    official = {name: np.where(mask == 255, 0, mask + 1) for name, mask in masks.items()}
    write_mats(root / "annotations", official, variable="S", dtype=np.uint8)
    write_list(root / "imageLists", "test", reversed(list(masks)))
    return root


def test_the_class_lists() -> None:
    whole, usual, objects = (coco_classes(count) for count in COUNTS)
    assert [len(whole), len(usual), len(objects)] == [182, 171, 81]
    assert (whole.background, usual.background, objects.background) == (None, None, 0)
    assert usual.names == tuple(name for k, name in enumerate(whole.names) if k not in EMPTY)
    assert objects.names == ("background", *usual.names[:80])
    assert (whole.names[0], whole.names[90], whole.names[91]) == ("person", "hair brush", "banner")
    assert whole.names[181] == "wood"
    assert whole.unseen == (20, 24, 32, 33, 40, 56, 86, 99, 105, 123, 144, 147, 148, 168, 171)
    assert usual.unseen == (19, 23, 28, 29, 36, 51, 76, 88, 94, 112, 133, 136, 137, 157, 160)
    assert objects.unseen == ()
    assert usual.prompts[usual.names.index("desk-stuff")] == "desk"
    assert whole.prompts[whole.names.index("desk-stuff")] == "desk stuff"
    assert whole.prompts[whole.names.index("desk")] == "desk"


@pytest.mark.parametrize("form", ["164k", "10k"])
@pytest.mark.parametrize("classes", COUNTS)
def test_classes_have_one_value_each(form: str, classes: Count) -> None:
    real = [k for k in coco_table(form, classes=classes).tolist() if k not in (UNKNOWN, 255)]
    # 91 kinds of stuff and the unlabelled are the background of objects.
    expected = [92 if k == 0 and classes == 81 else 1 for k in range(classes)]
    assert [real.count(k) for k in range(classes)] == expected
    assert len(real) == sum(expected)


@given(st.lists(st.sampled_from([*REAL, 255]), min_size=1, max_size=54), st.sampled_from(COUNTS))
@settings(max_examples=200)
def test_the_maps_are_the_slow_loop(ids: list[int], classes: Count) -> None:
    names182 = coco_classes(182).names
    names = coco_classes(classes).names
    labels = relabel(mask_of(*ids), coco_table("164k", classes=classes), where="m")
    for value, label in zip(mask_of(*ids).ravel().tolist(), labels.ravel().tolist(), strict=True):
        if classes == 81:
            expected = names.index(names182[value]) if value <= 90 else 0
        elif value == 255:
            expected = 255
        else:
            expected = names.index(names182[value])
        assert label == expected


@given(st.lists(st.sampled_from([*REAL, 255]), min_size=1, max_size=54))
def test_171_is_182_without_the_empty(ids: list[int]) -> None:
    mask = mask_of(*ids)
    in182 = relabel(mask, coco_table("164k", classes=182), where="m")
    in171 = relabel(mask, coco_table("164k", classes=171), where="m")
    fewer = np.array([*(REAL.index(k) if k in REAL else -1 for k in range(182)), *[255] * 74])
    np.testing.assert_array_equal(fewer[in182.numpy()], in171.numpy())


@pytest.mark.parametrize("write", [write_164k, write_10k])
@given(
    ids=st.lists(st.sampled_from([*REAL, 255]), min_size=1, max_size=54),
    classes=st.sampled_from(COUNTS),
)
@settings(max_examples=15)
def test_both_forms_give_the_same_labels(
    tmp_path_factory: pytest.TempPathFactory, write: object, ids: list[int], classes: Count
) -> None:
    masks = {"000000000139": mask_of(*ids), "000000581781": mask_of(*reversed(ids))}
    root = write(tmp_path_factory.mktemp("coco"), masks)  # type: ignore[operator]
    data = CocoStuff(root, classes=classes)
    assert isinstance(data, LabelledSet)
    assert data.keys() == sorted(masks)
    assert (data.form, data.split) == (("164k", "val") if write is write_164k else ("10k", "test"))
    assert data.name.endswith("-10k") == (data.form == "10k")
    table = coco_table("164k", classes=classes)
    for index, mask in enumerate(masks.values()):
        np.testing.assert_array_equal(data[index].labels.numpy(), table[mask])


@pytest.mark.parametrize("place", ["annotations", "stuffthingmaps", "stuffthingmaps_trainval2017"])
def test_layouts_of_164k(tmp_path: Path, place: str) -> None:
    write_164k(tmp_path, {"000000000009": mask_of(0)}, split="train2017", place=place)
    for split in ("train", "train2017"):
        assert CocoStuff(tmp_path, split=split).keys() == ["000000000009"]
    with pytest.raises(ValueError, match=r"164k \(no images/val2017/ or val2017/; no annot"):
        CocoStuff(tmp_path)


def test_converted_maps_beside_the_official_ones_are_left_alone(tmp_path: Path) -> None:
    write_164k(tmp_path, {"000000000139": mask_of(181)})
    maps = tmp_path / "annotations" / "val2017"
    write_pngs(maps, {"000000000139_labelTrainIds": mask_of(170)})
    assert ids_in(CocoStuff(tmp_path)[0].labels) == [170]
    (maps / "000000000139.png").unlink()
    with pytest.raises(ValueError, match=r"expected the pixel maps <id>\.png in .*, came none"):
        CocoStuff(tmp_path)


def test_lists_that_are_not_the_published_ones_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = {"000000000139": mask_of(1)}
    [note] = CocoStuff(write_164k(tmp_path / "164k", masks)).notes
    assert note.startswith("val lists 1 ids and is not the official list of 5000: 4999 are missing")
    [note] = CocoStuff(write_10k(tmp_path / "10k", masks)).notes
    assert note.startswith("test lists 1 ids and is not the official list of 1000: 999 are missing")
    known = {"count": 1, "sha256": list_hash(masks)}
    monkeypatch.setitem(coco._FACTS["lists"], "val2017", known)
    assert CocoStuff(tmp_path / "164k").notes == ()
    write_164k(tmp_path / "164k", {"000000000285": mask_of(1)})
    [note] = CocoStuff(tmp_path / "164k").notes
    assert "official list of 1: 1 are too many" in note


@pytest.mark.parametrize("part", ["images/val2017/b.jpg", "annotations/val2017/b.png"])
def test_half_an_image_is_refused(tmp_path: Path, part: str) -> None:
    root = write_164k(tmp_path, {"a": mask_of(1), "b": mask_of(2)})
    (root / part).unlink()
    with pytest.raises(ValueError, match=f"each of 2 ids, came 1 missing: .*{part}; add the files"):
        CocoStuff(root)


@pytest.mark.parametrize("wrong", [11, 90, 182, 254])
def test_ids_that_never_occur_are_refused(tmp_path: Path, wrong: int) -> None:
    root = write_164k(tmp_path, {"a": mask_of(1, wrong, 255)})
    with pytest.raises(BrokenSampleError, match=rf"a\.png: ids \[{wrong}\], expected 0\.\.10, 12"):
        CocoStuff(root)[0]
    if wrong < 182:
        assert wrong in CocoStuff(root, classes=182)[0].labels


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path: Path) -> None:
    root = write_164k(tmp_path, {"a": mask_of(1), "b": mask_of(2)})
    (root / "annotations" / "val2017" / "a.png").write_bytes(b"junk")
    data = CocoStuff(root)
    assert ids_in(data[1].labels) == [2]
    with pytest.raises(BrokenSampleError, match=r"a\.png: unreadable mask"):
        data[0]


def test_bad_arguments(tmp_path: Path) -> None:
    root = write_10k(tmp_path, {"a": mask_of(1)})
    with pytest.raises(ValueError, match="classes: expected 182, 171 or 81, came 80"):
        CocoStuff(root, classes=80)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"split: expected one of \['test'\] of .*, came 'val'"):
        CocoStuff(root, split="val")
    with pytest.raises(ValueError, match=r"unseen: expected one of \['spnet', 'vilseg'\] of coco"):
        CocoStuff(root, unseen="zs3-2")
    with pytest.raises(ValueError, match=r"unseen: expected none for the 81 classes .*leave"):
        CocoStuff(root, classes=81, unseen="spnet")
