"""COCO-Stuff, and COCO-Object made of it, as distributed.

164k  `images/<split>/*.jpg` and the unpacked pixel maps, `<split>/*.png`, under `annotations/` or
      `stuffthingmaps_trainval2017/`: grey, official id - 1, 0 to 181, 255 unlabelled
10k   version 1.1: `images/*.jpg`, `annotations/*.mat` (`S`: 0 unlabelled, 1 to 182) and
      `imageLists/<split>.txt`

Of 182 official ids 11 were never annotated, which leaves 171 classes.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from vilseg_data.labelled.classes import IGNORE, ClassList, colour_map, load_facts
from vilseg_data.labelled.files import LabelledFiles
from vilseg_data.labelled.layout import Form, Found, compare_list, find_form, read_split
from vilseg_data.labelled.masks import MaskFolder, stems, value_table
from vilseg_data.labelled.zero_shot import ZERO_SHOT, ZeroShotSplit, choose_split, with_unseen

_FACTS = load_facts("coco_stuff")
_EMPTY = frozenset(_FACTS["empty"])
_THINGS = range(_FACTS["things"])
_SPLITS_164K = {"val": "val2017", "train": "train2017"}


def _forms(split: str) -> tuple[Form, Form]:
    places = ("annotations", "stuffthingmaps", "stuffthingmaps_trainval2017")
    large = {
        "images": [f"images/{split}/", f"{split}/"],
        "masks": [f"{place}/{split}/" for place in places],
    }
    small = {"images": ["images/"], "masks": ["annotations/"], "lists": ["imageLists/"]}
    return Form("164k", large), Form("10k", small)


def coco_classes(count: Literal[182, 171, 81], *, unseen: ZeroShotSplit | None = None) -> ClassList:
    """All 182 ids, the 171 that occur, or 80 things behind a background of all else (81).

    `unseen` is the paper's split unless given, and must be left out for 81: no split of COCO-Object
    is published, and most of the paper's unseen classes are stuff.
    """
    if count == 81 and unseen is not None:
        raise ValueError(
            "unseen: expected none for the 81 classes of COCO-Object, came a split of COCO-Stuff; "
            "leave it out"
        )
    pixel_ids = _pixel_ids(count)
    names = [_FACTS["names182"][k] for k in pixel_ids]
    prompts = [_FACTS["prompts182"][k] for k in pixel_ids]
    # "desk-stuff" reads "desk", but not beside the empty thing class "desk".
    prompts = [
        name.replace("-", " ") if prompts.count(prompt) > 1 else prompt
        for name, prompt in zip(names, prompts, strict=True)
    ]
    behind = ["background"] if count == 81 else []
    classes = ClassList(
        names=(*behind, *names),
        prompts=(*behind, *prompts),
        unseen=(),
        background=0 if behind else None,
        palette=colour_map(count),
    )
    if count == 81:
        return classes
    return with_unseen(classes, ZERO_SHOT["coco-stuff"]["vilseg"] if unseen is None else unseen)


def _pixel_ids(count: Literal[182, 171, 81]) -> list[int]:
    """The values of the pixel maps that are classes, in the order of the classes."""
    if count == 182:
        return list(range(182))
    return [k for k in range(182) if k not in _EMPTY and (count == 171 or k in _THINGS)]


def coco_table(form: str, *, classes: Literal[182, 171, 81]) -> npt.NDArray[np.int64]:
    """The class id, or 255, of every value that a mask of `form` may hold.

    Unlabelled pixels are ignored, but background in COCO-Object, as stuff is. The ids that were
    never annotated are unknown unless all 182 are asked for.
    """
    ids = _pixel_ids(classes)
    if classes == 81:
        table = {k: 0 for k in range(182) if k not in _EMPTY}
        table |= {k: position for position, k in enumerate(ids, start=1)}
    else:
        table = {k: position for position, k in enumerate(ids)}
    unlabelled = 0 if classes == 81 else IGNORE
    if form == "164k":
        return value_table(table | {255: unlabelled})
    return value_table({0: unlabelled} | {k + 1: position for k, position in table.items()})


class CocoStuff(LabelledFiles):
    """COCO-Stuff 164k or 10k, whichever `root` holds."""

    def __init__(
        self,
        root: str | Path,
        *,
        split: str | None = None,
        classes: Literal[182, 171, 81] = 171,
        form: str | None = None,
        unseen: str | None = None,
        count: int | None = None,
    ) -> None:
        """Classes, list and form.

        Args:
            split: of 164k "val" (the default) or "train", or the folder's own name ("val2017");
                of 10k "test" (the default), "train" or another list in `imageLists`.
            classes: 171, 182 (with those never annotated), or 81 for COCO-Object.
            form: "164k" or "10k"; the first that is there unless given.
            unseen: the zero-shot split, a name of `ZERO_SHOT["coco-stuff"]`; "vilseg" by default,
                none for COCO-Object.
            count: the first so many images alone.

        Raises:
            ValueError: the root, the list, an image or a mask is missing, or scipy for 10k.
        """
        if classes not in (182, 171, 81):
            raise ValueError(f"classes: expected 182, 171 or 81, came {classes}; choose one")
        asked = split or "val"
        forms = _forms(_SPLITS_164K.get(asked, asked))
        found = find_form(Path(root), forms, what="COCO-Stuff", form=form)
        split = split or ("val" if found.form == "164k" else "test")
        photos = stems(found.parts["images"], suffixes=(".jpg",))
        masks = _masks(found)
        ids, notes = _ids(found, split=split, photos=set(photos), masks=masks)
        chosen = None if unseen is None else choose_split("coco-stuff", unseen)
        name = {171: "coco-stuff", 182: "coco-stuff-182", 81: "coco-object"}[classes]
        super().__init__(
            name=name if found.form == "164k" else f"{name}-10k",
            classes=coco_classes(classes, unseen=chosen),
            split=split,
            form=found.form,
            ids=ids,
            photos=photos,
            photo_folder=found.parts["images"],
            masks=masks,
            table=coco_table(found.form, classes=classes),
            notes=notes,
            count=count,
        )


def _masks(found: Found) -> MaskFolder:
    if found.form == "10k":
        return MaskFolder(found.parts["masks"], suffix=".mat", variable="S")
    return MaskFolder(found.parts["masks"])


def _ids(
    found: Found, *, split: str, photos: set[str], masks: MaskFolder
) -> tuple[list[str], tuple[str, ...]]:
    if found.form == "10k":
        ids, _ = read_split([found.parts["lists"]], split)
        name = f"10k-{split}"
    else:
        # MMSegmentation's converter writes <id>_labelTrainIds.png beside the maps.
        official = {key for key in masks.keys() if not key.endswith("_labelTrainIds")}  # noqa: SIM118
        if not official:
            raise ValueError(
                f"root: expected the pixel maps <id>.png in {found.parts['masks']}, came none; "
                "unpack stuffthingmaps_trainval2017.zip"
            )
        ids, name = sorted(official | photos), _SPLITS_164K.get(split, split)
    return ids, compare_list(ids, _FACTS["lists"].get(name), split=split)
