"""PASCAL Context: three forms of the same masks give the same labels."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.labelled.layouts import (
    ids_in,
    mask_of,
    write_detail,
    write_list,
    write_mats,
    write_photos,
    write_pngs,
)

from vilseg_data import BrokenSampleError, LabelledSet
from vilseg_data.labelled import PascalContext, context, context_classes
from vilseg_data.labelled.classes import load_facts
from vilseg_data.labelled.context import context_table
from vilseg_data.labelled.layout import list_hash
from vilseg_data.labelled.masks import UNKNOWN, relabel

FACTS = load_facts("context")
IDS459: list[int] = FACTS["ids459"]
Count = Literal[60, 59, 33]
COUNTS: tuple[Count, ...] = (60, 59, 33)


def write_context(root: Path, masks: dict[str, np.ndarray], *, form: str) -> Path:
    """`masks` of ids 0 to 59 in a form as it is distributed; ids of .mat and JSON are the 459's."""
    voc = root / "VOCdevkit" / "VOC2010"
    write_photos(voc / "JPEGImages", masks)
    in459 = {name: np.array(IDS459)[mask] for name, mask in masks.items()}
    if form == "mat":
        write_mats(root / "trainval", in459, variable="LabelMap")
        write_list(voc / "ImageSets" / "Main", "val", reversed(list(masks)))
    elif form == "png":
        write_pngs(voc / "SegmentationClassContext", masks)
        write_list(voc / "ImageSets" / "SegmentationContext", "val", reversed(list(masks)))
    else:
        write_detail(root / "trainval_merged.json", in459)
    return root


def test_the_class_lists() -> None:
    full, usual, few = (context_classes(count) for count in COUNTS)
    assert [len(full), len(usual), len(few)] == [60, 59, 33]
    assert (full.background, usual.background, few.background) == (0, None, None)
    assert full.names[1:] == usual.names == tuple(sorted(usual.names))
    assert full.unseen == (15, 20, 34, 49)
    assert usual.unseen == (14, 19, 33, 48)
    assert few.unseen == (7, 9, 13, 17)
    for classes in (full, usual, few):
        unseen = {classes.names[k] for k in classes.unseen}
        assert unseen == {"cow", "motorbike", "sofa", "cat"}


@pytest.mark.parametrize("classes", COUNTS)
@pytest.mark.parametrize("form", ["mat", "png", "json"])
def test_classes_have_one_value_each_in_every_form(form: str, classes: Count) -> None:
    table = context_table(form, classes=classes)
    assert len(table) == (256 if form == "png" else 460)
    real = [k for k in table.tolist() if k not in (UNKNOWN, 255)]
    counts = [real.count(k) for k in range(classes)]
    background = {"png": 1, "mat": 401, "json": 401}[form]
    assert counts == [background if k == 0 and classes == 60 else 1 for k in range(classes)]


@given(st.lists(st.integers(0, 459), min_size=1, max_size=54), st.sampled_from(COUNTS))
@settings(max_examples=200)
def test_reducing_459_is_the_slow_loop(ids: list[int], classes: Count) -> None:
    names60: list[str] = FACTS["names60"]
    chosen = context_classes(classes).names
    labels = relabel(mask_of(*ids), context_table("mat", classes=classes), where="m")
    for value, label in zip(mask_of(*ids).ravel().tolist(), labels.ravel().tolist(), strict=True):
        name = names60[IDS459.index(value)] if value in IDS459 else "background"
        other = 0 if classes == 60 else 255
        assert label == (chosen.index(name) if name in chosen else other)


def test_255_is_a_class_in_mat_files_and_ignored_in_pngs() -> None:
    mask = mask_of(255)
    for form, label in (("mat", 0), ("json", 0), ("png", 255)):
        assert ids_in(relabel(mask, context_table(form, classes=60), where="m")) == [label]


@pytest.mark.parametrize("form", ["mat", "png", "json"])
@given(ids=st.lists(st.integers(0, 59), min_size=1, max_size=54), classes=st.sampled_from(COUNTS))
@settings(max_examples=15)
def test_every_form_gives_the_same_labels(
    tmp_path_factory: pytest.TempPathFactory, form: str, ids: list[int], classes: Count
) -> None:
    masks = {"2008_000002": mask_of(*ids), "2010_006086": mask_of(*reversed(ids))}
    data = PascalContext(
        write_context(tmp_path_factory.mktemp("context"), masks, form=form), classes=classes
    )
    assert isinstance(data, LabelledSet)
    assert (data.form, data.keys()) == (form, sorted(masks))
    assert data.name == ("context" if classes == 59 else f"context-{classes}")
    names60 = context_classes(60).names
    for index, mask in enumerate(masks.values()):
        labels = data[index].labels.numpy()
        for k in range(60):
            name = names60[k]
            known = name in data.classes.names
            expected = data.classes.names.index(name) if known else 255
            assert set(labels[mask == k].tolist()) <= {expected}


@pytest.mark.parametrize("form", ["mat", "png", "json"])
def test_the_form_is_found_and_can_be_chosen(tmp_path: Path, form: str) -> None:
    for each in ("json", "png", "mat"):
        write_context(tmp_path, {"a": mask_of(1)}, form=each)
    assert PascalContext(tmp_path).form == "mat"
    assert PascalContext(tmp_path, form=form).form == form
    with pytest.raises(ValueError, match=r"form: expected one of \['mat', 'png', 'json'\] of"):
        PascalContext(tmp_path, form="tif")


def test_a_root_without_any_form_lists_what_was_looked_for(tmp_path: Path) -> None:
    write_photos(tmp_path / "JPEGImages", {"a": mask_of(1)})
    with pytest.raises(ValueError, match="root: expected PASCAL Context in one of its") as caught:
        PascalContext(tmp_path)
    for text in (
        "which holds JPEGImages/; looked for",
        "mat (found JPEGImages; no trainval/ or VOCdevkit/VOC2010/trainval/ or",
        "png (found JPEGImages; no SegmentationClassContext/ or",
        "json (found JPEGImages; no trainval_merged.json or",
    ):
        assert text in str(caught.value)


def test_named_lists_are_what_their_names_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = {"b": mask_of(1), "a": mask_of(2)}
    for form in ("png", "mat"):
        write_context(tmp_path, masks, form=form)
    lists = tmp_path / "VOCdevkit" / "VOC2010" / "ImageSets"
    write_list(lists / "SegmentationContext", "val", ["b"])
    own = PascalContext(tmp_path)
    assert own.notes[0].startswith("val lists 2 ids of VOCdevkit/VOC2010/ImageSets/Main/val.txt")
    for name, count in (("val5105", 2), ("val5104", 1)):
        message = rf"split: expected the {name[3:]} ids of {name} in .*, came {count} that are not"
        with pytest.raises(ValueError, match=message):
            PascalContext(tmp_path, split=name)
    known = {"count": 2, "sha256": list_hash(masks)}
    monkeypatch.setitem(context._LISTS, "val5105", known)
    monkeypatch.setitem(context._LISTS, "val5104", {"count": 1})
    for split, form, count, note in (
        ("val", "mat", 2, "val is the list val5105 of 2 images"),
        ("val5105", "png", 2, "val5105 is the list val5105 of 2 images"),
        ("val", "png", 1, "val is as long as the list val5104 of 1 images"),
        ("val5104", "mat", 1, "val5104 is as long as the list val5104 of 1 images"),
    ):
        data = PascalContext(tmp_path, split=split, form=form)
        assert len(data) == count
        assert data.notes[0].startswith(note)


def test_the_json_has_the_lists_of_the_detail_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_context(tmp_path, {"a": mask_of(1)}, form="json")
    for split in ("val5105", "test"):
        with pytest.raises(ValueError, match=rf"one of \['val'\] .*came '{split}'; the paper's"):
            PascalContext(tmp_path, split=split)
    monkeypatch.setitem(context._LISTS, "val5104", {"count": 1})
    assert PascalContext(tmp_path, split="val5104").keys() == ["a"]


@pytest.mark.parametrize("form", ["mat", "png", "json"])
def test_missing_and_misfitting_files_are_named(tmp_path: Path, form: str) -> None:
    root = write_context(tmp_path, {"a": mask_of(1), "b": mask_of(2)}, form=form)
    photos = root / "VOCdevkit" / "VOC2010" / "JPEGImages"
    write_photos(photos, {"b": mask_of(1, shape=(3, 4))})
    with pytest.raises(BrokenSampleError, match=r"b.*: 9 x 6 pixels, its image has 4 x 3"):
        PascalContext(root)[1]
    (photos / "a.jpg").unlink()
    with pytest.raises(ValueError, match=r"of 2 ids, came 1 missing: .*JPEGImages/a\.jpg; add"):
        PascalContext(root)


@pytest.mark.parametrize(("form", "wrong"), [("mat", 460), ("png", 60), ("json", 500)])
def test_unknown_ids_are_refused(tmp_path: Path, form: str, wrong: int) -> None:
    root = write_context(tmp_path, {"a": mask_of(1)}, form=form)
    if form == "mat":
        write_mats(root / "trainval", {"a": mask_of(wrong)}, variable="LabelMap")
    elif form == "png":
        folder = root / "VOCdevkit" / "VOC2010" / "SegmentationClassContext"
        write_pngs(folder, {"a": mask_of(wrong)})
    else:
        write_detail(root / "trainval_merged.json", {"a": mask_of(wrong)})
    expected = r"0\.\.59 or 255" if form == "png" else r"0\.\.459"
    with pytest.raises(BrokenSampleError, match=rf"a.*: ids \[{wrong}\], expected {expected}"):
        PascalContext(root)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"images": [{"image_id": 1}], "annos_segmentation": []}', "KeyError: 'file_name'"),
        ('{"images": [], "annos_segmentation": [{"image_id": 1}]}', "KeyError: 1"),
    ],
)
def test_a_json_of_another_kind_is_refused(tmp_path: Path, text: str, message: str) -> None:
    root = write_context(tmp_path, {"a": mask_of(1)}, form="json")
    (root / "trainval_merged.json").write_text(text)
    with pytest.raises(ValueError, match=rf"trainval_merged\.json: expected the .*{message}"):
        PascalContext(root)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ({"size": [6, 9], "counts": [3]}, "expected runs that fill 6 x 9 pixels"),
        ({"size": [9, 6], "counts": [54]}, "size is 9 x 6, its image's 6 x 9"),
        ({"size": [6, 9]}, "'counts'"),
    ],
)
def test_damaged_regions_name_the_image(
    tmp_path: Path, region: dict[str, Any], message: str
) -> None:
    root = write_context(tmp_path, {"a": mask_of(1)}, form="json")
    path = root / "trainval_merged.json"
    content = json.loads(path.read_text())
    content["annos_segmentation"][0]["segmentation"] = region
    path.write_text(json.dumps(content))
    data = PascalContext(root)
    with pytest.raises(BrokenSampleError, match=rf"json: a: unreadable region: .*{message}"):
        data[0]


def test_later_regions_lie_on_top(tmp_path: Path) -> None:
    root = write_context(tmp_path, {"a": mask_of(1)}, form="json")
    write_detail(root / "trainval_merged.json", {"a": np.full((6, 9), 2)}, text=False)
    path = root / "trainval_merged.json"
    content = json.loads(path.read_text())
    above = {"size": [6, 9], "counts": [6, 6, 42]}
    content["annos_segmentation"].append({"image_id": 0, "category_id": 9, "segmentation": above})
    path.write_text(json.dumps(content))
    labels = PascalContext(root)[0].labels
    assert ids_in(labels[:, 1]) == [1]
    assert ids_in(labels[:, 0]) == [0]


def test_bad_arguments(tmp_path: Path) -> None:
    root = write_context(tmp_path, {"a": mask_of(1)}, form="png")
    with pytest.raises(ValueError, match="classes: expected 60, 59 or 33, came 58"):
        PascalContext(root, classes=58)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"unseen: expected one of \['cagnet', .*came 'zs3-3'"):
        PascalContext(root, unseen="zs3-3")
    with pytest.raises(ValueError, match=r"names: expected classes of the set, came \['fence'\]"):
        PascalContext(root, classes=33, unseen="zs3-6")
