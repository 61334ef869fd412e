"""PASCAL VOC 2012 segmentation, and any set in its layout, as distributed.

`JPEGImages/<id>.jpg`, `SegmentationClass/<id>.png` (palette images: 0 background, 1-20 classes,
255 void) and `ImageSets/Segmentation/<split>.txt` or `ImageSets/<split>.txt`. Masks merged with
SBD's lie in `SegmentationClassAug/`, as grey or palette images of the same ids.
"""

from pathlib import Path
from typing import Literal

from vilseg_data.labelled.classes import IGNORE, ClassList, colour_map, load_facts
from vilseg_data.labelled.files import LabelledFiles
from vilseg_data.labelled.layout import Form, compare_list, find_form, read_split
from vilseg_data.labelled.masks import MaskFolder, plain_table, stems, value_table
from vilseg_data.labelled.zero_shot import ZERO_SHOT, choose_split, with_unseen

_FACTS = load_facts("voc")
_BASES = ("", "VOCdevkit/VOC2012/", "VOC2012/")
_FOLDERS = {"official": "SegmentationClass", "aug": "SegmentationClassAug"}


def _class_list() -> ClassList:
    names = tuple(_FACTS["names"])
    blank = ClassList(
        names=names,
        prompts=tuple(_FACTS["prompts"]),
        unseen=(),
        background=0,
        palette=colour_map(len(names)),
    )
    return with_unseen(blank, ZERO_SHOT["voc"]["vilseg"])


VOC_CLASSES = _class_list()


def without_background(classes: ClassList) -> ClassList:
    """`classes` without their background, id 0: every other id is one less."""
    return ClassList(
        names=classes.names[1:],
        prompts=classes.prompts[1:],
        unseen=tuple(k - 1 for k in classes.unseen),
        background=None,
        palette=classes.palette[1:],
    )


class VocSegmentation(LabelledFiles):
    """Photos with masks in the VOC layout: 21 classes, background 0, 255 ignored.

    `root` holds the layout, or VOCdevkit/VOC2012 with it. `notes` says where an official list is
    not what the devkit has (scores on it are not benchmark scores).
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str = "val",
        classes: Literal[21, 20] = 21,
        annotations: Literal["official", "aug"] = "official",
        unseen: str = "vilseg",
        count: int | None = None,
    ) -> None:
        """Classes and masks to read.

        Args:
            classes: 21, or 20: background is ignored and the ids of the others are one less.
            annotations: "official", or "aug" for the masks of SegmentationClassAug.
            unseen: the zero-shot split, a name of `ZERO_SHOT["voc"]`.
            count: the first so many images alone.

        Raises:
            ValueError: the root, the list of the split, an image or a mask is missing.
        """
        if classes not in (21, 20):
            raise ValueError(f"classes: expected 21 or 20, came {classes}; choose one")
        if annotations not in _FOLDERS:
            raise ValueError(
                f"annotations: expected 'official' or 'aug', came {annotations!r}; choose one"
            )
        folder = _FOLDERS[annotations]
        parts = {part: [f"{base}{part}/" for base in _BASES] for part in ("JPEGImages", folder)}
        found = find_form(Path(root), [Form(annotations, parts)], what="VOC")
        lists = found.parts[folder].parent / "ImageSets"
        ids, path = read_split([lists / "Segmentation", lists / "SegmentationAug", lists], split)
        official = path.parent.name == "Segmentation"
        known = _FACTS["lists"].get(split) if official else None
        notes = compare_list(ids, known, split=split)
        aug = annotations == "aug"
        if aug and split == "val":
            notes += ("val is read from SegmentationClassAug, not from the official masks",)
        chosen = with_unseen(VOC_CLASSES, choose_split("voc", unseen))
        name, table = "voc", plain_table(21)
        if classes == 20:
            name, chosen = "voc-20", without_background(chosen)
            table = value_table({0: IGNORE, IGNORE: IGNORE} | {k: k - 1 for k in range(1, 21)})
        super().__init__(
            name=f"{name}-aug" if aug else name,
            classes=chosen,
            split=split,
            form=annotations,
            ids=ids,
            photos=stems(found.parts["JPEGImages"], suffixes=(".jpg",)),
            photo_folder=found.parts["JPEGImages"],
            masks=MaskFolder(found.parts[folder]),
            table=table,
            notes=notes,
            count=count,
        )
