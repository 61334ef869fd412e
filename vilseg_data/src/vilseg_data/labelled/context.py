"""PASCAL Context on the photos of VOC 2010, in the three forms it is distributed in.

mat   `trainval/<id>.mat`, `LabelMap` of ids 1 to 459, as its authors give it
png   `SegmentationClassContext/<id>.png` of ids 0 to 59, as MMSegmentation's converter writes it
json  `trainval_merged.json` of the Detail API: runs of the 59 classes for each region

The paper's lists (4998 for training, 5105 for validation) are those of VOC 2010 itself,
`ImageSets/Main`; the Detail API's, which the JSON holds and the converter writes to
`ImageSets/SegmentationContext`, are shorter (4996 and 5104).
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vilseg_data.labelled.classes import IGNORE, ClassList, colour_map, load_facts
from vilseg_data.labelled.detail import DetailMasks
from vilseg_data.labelled.files import LabelledFiles
from vilseg_data.labelled.layout import Form, Found, find_form, is_list, read_split
from vilseg_data.labelled.masks import MaskFolder, Masks, stems, value_table
from vilseg_data.labelled.voc import without_background
from vilseg_data.labelled.zero_shot import ZERO_SHOT, ZeroShotSplit, choose_split, with_unseen

_FACTS = load_facts("context")
_LISTS: dict[str, dict[str, Any]] = _FACTS["lists"]
_BASES = ("", "VOCdevkit/VOC2010/", "VOC2010/", "VOCdevkit/VOC2012/", "VOC2012/")
_IMAGES = [f"{base}JPEGImages/" for base in _BASES]
FORMS = (
    Form("mat", {
        "images": _IMAGES,
        "masks": [f"{base}trainval/" for base in (*_BASES, "full_annotations/")],
    }),
    Form("png", {
        "images": _IMAGES,
        "masks": [f"{base}SegmentationClassContext/" for base in _BASES],
    }),
    Form("json", {
        "images": _IMAGES,
        "masks": [f"{base}trainval_merged.json" for base in (*_BASES, "VOCdevkit/")],
    }),
)  # fmt: skip
_MOST_459 = 459


def context_classes(
    count: Literal[60, 59, 33], *, unseen: ZeroShotSplit | None = None
) -> ClassList:
    """The 60 classes (background 0, then by alphabet), the 59 without it, or CaGNet's 33."""
    full = ClassList(
        names=tuple(_FACTS["names60"]),
        prompts=tuple(_FACTS["prompts60"]),
        unseen=(),
        background=0,
        palette=colour_map(60),
    )
    split = ZERO_SHOT["context"]["vilseg"] if unseen is None else unseen
    if count != 33:
        full = with_unseen(full, split)
        return full if count == 60 else without_background(full)
    ids = full.ids(_FACTS["names33"])
    few = ClassList(
        names=tuple(full.names[k] for k in ids),
        prompts=tuple(full.prompts[k] for k in ids),
        unseen=(),
        background=None,
        palette=full.palette[list(ids)],
    )
    return with_unseen(few, split)


def context_table(form: str, *, classes: Literal[60, 59, 33]) -> npt.NDArray[np.int64]:
    """The class id, or 255, of every value that a mask of `form` may hold.

    In the 459-class forms 255 is a class like any other (and not one of the 59); in PNGs, 255 is
    ignored whatever the class list.
    """
    full = context_classes(60)
    chosen = context_classes(classes)
    other = 0 if classes == 60 else IGNORE
    of60 = [chosen.names.index(name) if name in chosen.names else other for name in full.names]
    if form == "png":
        return value_table(dict(enumerate(of60)) | {IGNORE: IGNORE})
    known = dict(zip(_FACTS["ids459"], of60, strict=True))
    return value_table({value: known.get(value, other) for value in range(_MOST_459 + 1)})


class PascalContext(LabelledFiles):
    """PASCAL Context; what belongs to none of its classes is background (60) or ignored."""

    def __init__(
        self,
        root: str | Path,
        *,
        split: str = "val",
        classes: Literal[60, 59, 33] = 59,
        form: str | None = None,
        unseen: str = "vilseg",
        count: int | None = None,
    ) -> None:
        """Classes, list and form.

        Args:
            split: "val" or "train" (the form's own list), "val5105", "train4998" (the paper's),
                "val5104", "train4996" (the Detail API's), or any list in `ImageSets`. `notes` says
                which was used.
            classes: 60, 59 (no background), or 33 (CaGNet's).
            form: "mat", "png" or "json"; the first that is there unless given.
            unseen: the zero-shot split, a name of `ZERO_SHOT["context"]`.
            count: the first so many images alone.

        Raises:
            ValueError: the root, the list, an image or a mask is missing, or scipy for "mat".
        """
        if classes not in (60, 59, 33):
            raise ValueError(f"classes: expected 60, 59 or 33, came {classes}; choose one")
        found = find_form(Path(root), FORMS, what="PASCAL Context", form=form)
        masks: Masks
        if found.form == "json":
            masks = DetailMasks(found.parts["masks"])
            ids, source = _detail_ids(masks, split=split)
        else:
            variable = "LabelMap" if found.form == "mat" else None
            suffix = f".{found.form}"
            masks = MaskFolder(found.parts["masks"], suffix=suffix, variable=variable)
            ids, source = _listed_ids(Path(root), found, split=split)
        super().__init__(
            name="context" if classes == 59 else f"context-{classes}",
            classes=context_classes(classes, unseen=choose_split("context", unseen)),
            split=split,
            form=found.form,
            ids=ids,
            photos=stems(found.parts["images"], suffixes=(".jpg",)),
            photo_folder=found.parts["images"],
            masks=masks,
            table=context_table(found.form, classes=classes),
            notes=_notes(ids, split=split, source=source),
            count=count,
        )


def _phase(split: str) -> str:
    """The name of a list in files: "val" of "val5105"."""
    return split.rstrip("0123456789") if split in _LISTS else split


def _detail_ids(masks: DetailMasks, *, split: str) -> tuple[list[str], str]:
    phases = masks.phases()
    phase = _phase(split)
    if phase not in phases or split in ("val5105", "train4998"):
        raise ValueError(
            f"split: expected one of {sorted(phases)} (the Detail API's lists) of the JSON, came "
            f"{split!r}; the paper's lists need the .mat files"
        )
    return phases[phase], "trainval_merged.json"


def _listed_ids(root: Path, found: Found, *, split: str) -> tuple[list[str], str]:
    lists = found.parts["images"].parent / "ImageSets"
    paper = [lists / "Main", root, found.parts["masks"].parent]
    detail = [lists / "SegmentationContext"]
    if split in ("val5105", "train4998"):
        places = paper
    elif split in ("val5104", "train4996"):
        places = detail
    else:
        places = [*paper, *detail] if found.form == "mat" else [*detail, *paper]
        places.append(lists)
    ids, path = read_split(places, _phase(split))
    return ids, str(path.relative_to(root))


def _notes(ids: list[str], *, split: str, source: str) -> tuple[str, ...]:
    known = next((name for name, facts in _LISTS.items() if is_list(ids, facts)), None)
    if split in _LISTS and known != split:
        raise ValueError(
            f"split: expected the {_LISTS[split]['count']} ids of {split} in {source}, came "
            f"{len(ids)} that are not them; use the published list, or name the split "
            f"{_phase(split)!r} to take this one as it is"
        )
    if known is not None:
        sure = "is" if "sha256" in _LISTS[known] else "is as long as"
        return (f"{split} {sure} the list {known} of {len(ids)} images, from {source}",)
    return (
        f"{split} lists {len(ids)} ids of {source} and is none of {', '.join(_LISTS)}: "
        "scores on it are not comparable with published ones",
    )
