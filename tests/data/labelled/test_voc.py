"""VOC masks as distributed: ids are read, never guessed from colours."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.data.labelled.layouts import ids_in, mask_of, write_list, write_photos, write_pngs
from tests.data.sources import photo, write_voc

from vilseg_data import BrokenSampleError, LabelledSet, VocSegmentation
from vilseg_data.labelled import VOC_CLASSES
from vilseg_data.labelled.masks import plain_table, read_png, relabel

IDS = [*range(21), 255]


def test_the_classes_of_voc() -> None:
    assert len(VOC_CLASSES) == 21
    assert VOC_CLASSES.background == 0
    unseen = [VOC_CLASSES.names[k] for k in VOC_CLASSES.unseen]
    assert unseen == ["pottedplant", "sheep", "sofa", "train", "tvmonitor"]
    readable = [VOC_CLASSES.prompts[VOC_CLASSES.names.index(name)] for name in unseen]
    assert readable == ["potted plant", "sheep", "sofa", "train", "tv monitor"]


def test_the_palette_is_the_colour_map_of_the_devkit() -> None:
    for index, colour in enumerate(VOC_CLASSES.palette.tolist()):
        expected = [0, 0, 0]
        for bit in range(3):
            for channel in range(3):
                expected[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
        assert colour == expected


@given(st.lists(st.sampled_from(IDS), min_size=1, max_size=22))
@settings(max_examples=30)
def test_every_id_is_read_as_it_stands(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int]
) -> None:
    mask = mask_of(*ids)
    root = write_voc(tmp_path_factory.mktemp("voc"), {"a": mask})
    sample = VocSegmentation(root)[0]
    assert sample.labels.dtype == torch.int64
    np.testing.assert_array_equal(sample.labels.numpy(), mask)
    assert sample.image.shape == (3, 6, 9)


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("inside", ["", "VOCdevkit/VOC2012", "VOC2012"])
def test_layouts(tmp_path: Path, nested: bool, inside: str) -> None:
    write_voc(tmp_path / inside, {"b": mask_of(1), "a": mask_of(2, 255)}, nested=nested)
    data = VocSegmentation(tmp_path)
    assert isinstance(data, LabelledSet)
    assert (data.name, len(data)) == ("voc", 2)
    assert [data[k].key for k in range(2)] == data.keys() == ["a", "b"]
    assert len(VocSegmentation(tmp_path, count=1)) == 1


def test_grey_masks_with_ids_are_read(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"a": mask_of(3, 255)})
    Image.fromarray(mask_of(3, 255).astype(np.uint8)).save(root / "SegmentationClass" / "a.png")
    assert np.unique(VocSegmentation(root)[0].labels).tolist() == [3, 255]


@given(st.lists(st.sampled_from(IDS), min_size=1, max_size=54))
@settings(max_examples=30)
def test_without_background_every_id_is_one_less(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int]
) -> None:
    mask = mask_of(*ids)
    root = write_voc(tmp_path_factory.mktemp("voc"), {"a": mask})
    data = VocSegmentation(root, classes=20)
    assert (data.name, len(data.classes), data.classes.background) == ("voc-20", 20, None)
    for value, label in zip(mask.ravel().tolist(), data[0].labels.ravel().tolist(), strict=True):
        if value in (0, 255):
            assert label == 255
        else:
            assert data.classes.names[label] == VOC_CLASSES.names[value]
    unseen = [data.classes.names[k] for k in data.classes.unseen]
    assert unseen == [VOC_CLASSES.names[k] for k in VOC_CLASSES.unseen]


@pytest.mark.parametrize("lists", ["Segmentation", "SegmentationAug", ""])
def test_masks_merged_with_those_of_sbd(tmp_path: Path, lists: str) -> None:
    root = write_voc(tmp_path, {"a": mask_of(1, 255)})
    write_pngs(root / "SegmentationClassAug", {"a": mask_of(1, 2), "b": mask_of(20)})
    write_photos(root / "JPEGImages", {"b": mask_of(20)})
    write_list(root / "ImageSets" / lists, "trainaug", ["b", "a"])
    data = VocSegmentation(root, split="trainaug", annotations="aug")
    assert (data.name, data.keys(), data.notes) == ("voc-aug", ["a", "b"], ())
    assert [ids_in(data[k].labels) for k in range(2)] == [[1, 2], [20]]
    assert (
        VocSegmentation(root, annotations="aug").notes[-1].endswith("not from the official masks")
    )


def test_other_zero_shot_splits(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"a": mask_of(1)})
    data = VocSegmentation(root, unseen="zs3-4", classes=20)
    unseen = [data.classes.names[k] for k in data.classes.unseen]
    assert unseen == ["aeroplane", "cow", "motorbike", "sofa"]


def test_bad_arguments(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"a": mask_of(1)})
    for options, message in (
        ({"classes": 22}, "classes: expected 21 or 20, came 22"),
        ({"annotations": "sbd"}, "annotations: expected 'official' or 'aug', came 'sbd'"),
        ({"annotations": "aug"}, r"aug \(found JPEGImages; no SegmentationClassAug/ or"),
        ({"unseen": "none"}, r"unseen: expected one of \['spnet', 'vilseg', 'zs3-10', .*'none'"),
    ):
        with pytest.raises(ValueError, match=message):
            VocSegmentation(root, **options)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "1", "LA"])
def test_converted_masks_are_refused(tmp_path: Path, mode: str) -> None:
    root = write_voc(tmp_path, {"a": mask_of(1, 2)})
    path = root / "SegmentationClass" / "a.png"
    with Image.open(path) as image:
        converted = image.convert(mode)
    converted.save(path)
    with pytest.raises(BrokenSampleError, match=rf"a\.png: mode {mode}, .* has lost its ids"):
        VocSegmentation(root)[0]


@pytest.mark.parametrize("wrong", [21, 100, 254])
def test_wrong_ids_are_refused(tmp_path: Path, wrong: int) -> None:
    root = write_voc(tmp_path, {"a": mask_of(1, wrong, 255)})
    with pytest.raises(BrokenSampleError, match=rf"a\.png: ids \[{wrong}\], expected 0\.\.20 or"):
        VocSegmentation(root)[0]


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"a": mask_of(1)})
    (root / "JPEGImages" / "a.jpg").write_bytes(photo(3, size=(8, 6), kind="JPEG"))
    with pytest.raises(BrokenSampleError, match=r"a\.png: 9 x 6 pixels, its image has 8 x 6"):
        VocSegmentation(root)[0]


@pytest.mark.parametrize("part", ["JPEGImages/a.jpg", "SegmentationClass/a.png"])
@pytest.mark.parametrize("content", [b"", b"junk"])
def test_unreadable_files_are_named(tmp_path: Path, part: str, content: bytes) -> None:
    root = write_voc(tmp_path, {"a": mask_of(1)})
    (root / part).write_bytes(content)
    with pytest.raises(BrokenSampleError, match=part):
        VocSegmentation(root)[0]


def test_missing_files_are_listed(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {name: mask_of(1) for name in "abc"})
    (root / "JPEGImages" / "a.jpg").unlink()
    (root / "SegmentationClass" / "c.png").unlink()
    message = r"val: expected .* of 3 ids, came 2 missing: .*Images/a\.jpg, .*Class/c\.png; add"
    with pytest.raises(ValueError, match=message):
        VocSegmentation(root)


def test_an_unknown_split_lists_those_there_are(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"a": mask_of(1)}, split="mine", nested=False)
    with pytest.raises(ValueError, match=r"split: expected one of \['mine'\] of .*, came 'val'"):
        VocSegmentation(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [("\n", "which is empty"), ("a\na\n", "every id once, came 2 with repeats")],
)
def test_split_lists_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    root = write_voc(tmp_path, {"a": mask_of(1)})
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        VocSegmentation(root)


@pytest.mark.parametrize("text", [b"\xef\xbb\xbfa\r\nb\r\n", b"a\nb"])
def test_split_lists_of_every_system(tmp_path: Path, text: bytes) -> None:
    root = write_voc(tmp_path, {"a": mask_of(1), "b": mask_of(2)})
    (root / "ImageSets" / "Segmentation" / "val.txt").write_bytes(text)
    assert [sample.key for sample in map(VocSegmentation(root).__getitem__, range(2))] == ["a", "b"]


def test_a_split_list_that_is_no_text(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"a": mask_of(1)})
    (root / "ImageSets" / "Segmentation" / "val.txt").write_bytes(b"\xff\xfea\x00")
    with pytest.raises(ValueError, match=r"came 2 missing: .*JPEGImages/"):
        VocSegmentation(root)


def test_roots_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"expected VOC in the form, came .*, which is empty; look"
    ):
        VocSegmentation(tmp_path)
    with pytest.raises(ValueError, match="which is no folder"):
        VocSegmentation(tmp_path / "absent")
    with pytest.raises(ValueError, match="count: expected at least 1, came 0"):
        VocSegmentation(write_voc(tmp_path, {"a": mask_of(1)}), count=0)


def test_an_official_list_that_is_not_the_official_one_is_noted(tmp_path: Path) -> None:
    official = VocSegmentation(write_voc(tmp_path / "a", {"a": mask_of(1)}))
    assert official.notes == (
        "val lists 1 ids and is not the official list of 1449: "
        "1448 are missing, scores on it are not comparable with published ones",
    )
    own = VocSegmentation(write_voc(tmp_path / "b", {"a": mask_of(1)}, nested=False))
    assert own.notes == ()
    train = VocSegmentation(
        write_voc(tmp_path / "c", {"a": mask_of(1)}, split="train"), split="train"
    )
    assert train.notes == ()


@pytest.mark.parametrize(("split", "count"), [("train_original", 439), ("sbd_mask", 265)])
def test_reduced_voc(shared_data: Path, split: str, count: int) -> None:
    data = VocSegmentation(shared_data / "voc_320", split=split)
    assert (len(data), data.notes) == (count, ())
    border = False
    for index in range(0, count, 11):
        sample = data[index]
        assert max(sample.image.shape[1:]) <= 320
        assert sample.image.shape[1:] == sample.labels.shape
        ids = set(np.unique(sample.labels).tolist())
        assert ids <= set(IDS)
        assert ids & set(range(1, 21))
        border |= 255 in ids
    assert border == (split == "train_original")


def test_full_resolution_masks(shared_data: Path) -> None:
    masks = sorted((shared_data / "fixtures" / "voc" / "SegmentationClass").glob("*.png"))
    assert len(masks) == 8
    for path in masks:
        labels = relabel(read_png(path), plain_table(21), where=str(path))
        with Image.open(path) as image:
            assert image.size == (labels.shape[1], labels.shape[0])
        assert set(np.unique(labels).tolist()) <= set(IDS)
