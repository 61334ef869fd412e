"""Masks in files: read as they stand, turned into ids by a table, refused with a reason."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.data.labelled.layouts import ids_in, mask_of, write_mats, write_pngs

from vilseg_data import BrokenSampleError
from vilseg_data.labelled.masks import (
    MaskFolder,
    plain_table,
    read_png,
    relabel,
    stems,
    value_table,
)


@given(st.data(), st.integers(1, 300))
def test_relabel_is_the_slow_loop(data: st.DataObject, size: int) -> None:
    ids = data.draw(
        st.dictionaries(st.integers(0, size), st.integers(0, 255), min_size=1), label="ids"
    )
    drawn = data.draw(st.lists(st.sampled_from(sorted(ids)), min_size=1), label="values")
    values = mask_of(*drawn, shape=(3, 4))
    labels = relabel(values, value_table(ids), where="here")
    for y in range(3):
        for x in range(4):
            assert labels[y, x].item() == ids[int(values[y, x])]


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(-3, 70))
def test_a_value_without_an_entry_is_refused(known: set[int], value: int) -> None:
    table, values = value_table(dict.fromkeys(known, 0)), np.full((2, 2), value)
    if value in known:
        assert ids_in(relabel(values, table, where="m")) == [0]
    else:
        with pytest.raises(BrokenSampleError, match=rf"^m: ids \[{value}\], expected "):
            relabel(values, table, where="m")


@given(st.sets(st.integers(0, 255), min_size=1))
@settings(max_examples=40)
def test_palette_and_grey_masks_give_the_same_labels(
    tmp_path_factory: pytest.TempPathFactory, ids: set[int]
) -> None:
    root, mask = tmp_path_factory.mktemp("masks"), {"a": mask_of(*ids)}
    write_pngs(root / "grey", mask)
    write_pngs(root / "palette", mask, palette=True)
    with Image.open(root / "palette" / "a.png") as picture:
        assert picture.mode == "P"
    for folder in ("grey", "palette"):
        values = MaskFolder(root / folder).read("a")
        np.testing.assert_array_equal(values, mask["a"])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palettes_of_few_bits_are_read(tmp_path: Path, bits: int) -> None:
    mask = mask_of(*range(2**bits))
    picture = Image.fromarray(mask.astype(np.uint8))
    picture.putpalette([(k * 37) % 256 for k in range(3 * 2**bits)])
    picture.save(tmp_path / "a.png", bits=bits)
    np.testing.assert_array_equal(read_png(tmp_path / "a.png"), mask)


def test_ignored_pixels_stay_ignored() -> None:
    assert ids_in(relabel(mask_of(1, 255), plain_table(2), where="m")) == [1, 255]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64])
def test_mat_files_of_every_number_type(tmp_path: Path, dtype: type) -> None:
    mask = mask_of(0, 1, 200)
    folder = write_mats(tmp_path, {"2008_000001": mask}, variable="LabelMap", dtype=dtype)
    masks = MaskFolder(folder, suffix=".mat", variable="LabelMap")
    assert masks.keys() == {"2008_000001"}
    np.testing.assert_array_equal(masks.read("2008_000001"), mask)


def test_mat_files_that_are_not_the_label_map(tmp_path: Path) -> None:
    write_mats(tmp_path, {"a": mask_of(1)}, variable="S")
    write_mats(tmp_path, {"half": mask_of(1) + 0.5}, variable="LabelMap", dtype=float)
    write_mats(tmp_path, {"deep": mask_of(1)[None]}, variable="LabelMap")
    (tmp_path / "junk.mat").write_bytes(b"junk" * 100)
    (tmp_path / "empty.mat").write_bytes(b"")
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "new.mat").write_bytes(header + bytes(99))
    masks = MaskFolder(tmp_path, suffix=".mat", variable="LabelMap")
    for key, message in (
        ("a", "a.mat: no variable LabelMap: not a label map of this set"),
        ("half", "half.mat: LabelMap is float64 .* expected whole numbers"),
        ("deep", r"deep.mat: LabelMap is uint16 of shape \(1, 6, 9\)"),
        ("junk", "junk.mat: unreadable mask"),
        ("empty", "empty.mat: unreadable mask"),
        ("new", r"new.mat: MATLAB 7.3 \(HDF5\), expected version 5: .*use v1.1"),
    ):
        with pytest.raises(BrokenSampleError, match=message):
            masks.read(key)


@pytest.mark.parametrize("suffix", [".png", ".mat"])
@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=60)
def test_a_file_cut_anywhere_is_read_whole_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, share: float
) -> None:
    mask, root = mask_of(*range(54)), tmp_path_factory.mktemp("cut")
    if suffix == ".png":
        write_pngs(root, {"a": mask})
    else:
        write_mats(root, {"a": mask}, variable="S")
    whole = (root / f"a{suffix}").read_bytes()
    (root / f"a{suffix}").write_bytes(whole[: int(share * len(whole))])
    masks = MaskFolder(root, suffix=suffix, variable="S" if suffix == ".mat" else None)
    try:
        values = masks.read("a")
    except BrokenSampleError as broken:
        named = broken.key
    else:
        np.testing.assert_array_equal(values, mask)
        named = masks.where("a")
    assert named == masks.where("a")


def test_without_scipy_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    MaskFolder(tmp_path)
    with pytest.raises(ValueError, match=r"need scipy, .*pip install scipy"):
        MaskFolder(tmp_path, suffix=".mat", variable="S")


def test_files_by_their_stems(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.JPG", "._a.jpg", "c.txt"):
        (tmp_path / name).touch()
    assert list(stems(tmp_path, suffixes=(".jpg",))) == ["a", "b"]
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match=r"one file for a, came a\.JPG and a\.png; keep one"):
        stems(tmp_path, suffixes=(".jpg", ".png"))
