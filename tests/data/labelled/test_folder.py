"""A folder of one's own: classes by their lines, splits by folders, lists or not at all."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.labelled.layouts import ids_in, mask_of, write_list, write_photos, write_pngs
from tests.data.sources import photo

from vilseg_data import BrokenSampleError, LabelledSet
from vilseg_data.labelled import FolderSet
from vilseg_data.labelled.folder import read_classes

CLASSES = "background\nred_car\ndog\n"
MASKS = {"b": mask_of(0, 1, 255), "a": mask_of(2)}


def write_folder(
    root: Path, masks: dict[str, np.ndarray], *, split: str = "", classes: str = CLASSES
) -> Path:
    write_photos(root / "images" / split, masks)
    write_pngs(root / "masks" / split, masks)
    (root / "classes.txt").write_text(classes)
    return root


def test_classes_and_labels(tmp_path: Path) -> None:
    root = write_folder(tmp_path, MASKS)
    (root / "unseen.txt").write_text("dog\n\n")
    data = FolderSet(root)
    assert isinstance(data, LabelledSet)
    assert (data.name, data.form, data.keys()) == ("folder", "all", ["a", "b"])
    assert data.notes == ("val: the folder has no splits, so it is all 2 images",)
    assert data.classes.prompts == ("background", "red car", "dog")
    assert (data.classes.background, data.classes.unseen) == (0, (2,))
    assert [ids_in(data[k].labels) for k in range(2)] == [[2], [0, 1, 255]]


def test_splits_as_folders_and_as_lists(tmp_path: Path) -> None:
    write_folder(tmp_path, MASKS)
    write_list(tmp_path / "splits", "val", ["b"])
    data = FolderSet(tmp_path)
    assert (data.form, data.keys(), data.notes) == ("lists", ["b"], ())
    with pytest.raises(ValueError, match=r"split: expected one of \['val'\] of .*, came 'test'"):
        FolderSet(tmp_path, split="test")
    write_folder(tmp_path, {"c": mask_of(1)}, split="test")
    data = FolderSet(tmp_path, split="test")
    assert (data.form, data.keys(), data.notes) == ("folders", ["c"], ())


@given(
    ids=st.dictionaries(st.integers(0, 254), st.none(), min_size=1, max_size=40),
    ignored=st.sampled_from(["ignore", "void", "unlabeled", "unlabelled"]),
    data=st.data(),
)
@settings(max_examples=40)
def test_ids_with_gaps_become_positions(
    tmp_path_factory: pytest.TempPathFactory,
    ids: dict[int, None],
    ignored: str,
    data: st.DataObject,
) -> None:
    order = list(ids)
    left_out = data.draw(st.sampled_from(order))
    lines = [f"{k}: {ignored if k == left_out else f'class {k}'}\n" for k in order]
    root = tmp_path_factory.mktemp("folder")
    write_folder(root, {"a": mask_of(*order, 255)}, classes="".join(lines))
    folder = FolderSet(root)
    assert folder.classes.names == tuple(f"class {k}" for k in sorted(order) if k != left_out)
    labels = folder[0].labels.numpy()
    for value, label in zip(mask_of(*order, 255).ravel().tolist(), labels.ravel(), strict=True):
        if value in (left_out, 255):
            assert label == 255
        else:
            assert folder.classes.names[label] == f"class {value}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a class name on every line, came nothing"),
        ("a\n\nb\n", "came an empty line"),
        ("0: a\nb\n", "\"id: name\" on every line or on none, came 'b'"),
        ("0: a\n0: b\n", r"expected every id once, came \['0'\] twice"),
        ("a\nb\na\n", r"expected every name once, came \['a'\] twice"),
        ("0: a\n255: b\n", r"expected ids 0 to 254, came \[255\]"),
        ("3: a\n256: void\n", r"expected ids 0 to 254, came \[256\]"),
        ("\n".join(f"c{k}" for k in range(256)), r"expected ids 0 to 254, came \[255\]"),
    ],
)
def test_lists_of_classes_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"classes\.txt: .*{message}"):
        read_classes(path)


def test_photos_of_every_suffix(tmp_path: Path) -> None:
    write_folder(tmp_path, {})
    for name, kind in (("a.jpeg", "JPEG"), ("b.PNG", "PNG"), ("c.webp", "WEBP"), ("d.tif", "TIFF")):
        (tmp_path / "images" / name).write_bytes(photo(3, size=(9, 6), kind=kind))
    write_pngs(tmp_path / "masks", {name: mask_of(1) for name in "abcd"})
    data = FolderSet(tmp_path)
    assert [data[k].key for k in range(4)] == ["a", "b", "c", "d"]


def test_what_is_missing_or_unknown_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"all \(no classes\.txt; no images/; no masks/"):
        FolderSet(tmp_path)
    with pytest.raises(ValueError, match=r"images: expected images of \.jpg, .*, came none"):
        FolderSet(write_folder(tmp_path, {}))
    write_folder(tmp_path, {"a": mask_of(3)})
    with pytest.raises(BrokenSampleError, match=r"a\.png: ids \[3\], expected 0\.\.2 or 255"):
        FolderSet(tmp_path)[0]
    (tmp_path / "unseen.txt").write_text("cat\nbackground\n")
    with pytest.raises(ValueError, match=r"unseen\.txt: expected .* \['cat', 'background'\]"):
        FolderSet(tmp_path)
    (tmp_path / "unseen.txt").unlink()
    (tmp_path / "masks" / "a.png").unlink()
    with pytest.raises(ValueError, match=r"each of 1 ids, came 1 missing: .*masks/a\.png"):
        FolderSet(tmp_path)
