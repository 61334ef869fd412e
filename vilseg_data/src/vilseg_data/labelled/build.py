"""Labelled sets by name."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from vilseg_data.labelled.classes import LabelledSet
from vilseg_data.labelled.coco import CocoStuff
from vilseg_data.labelled.context import PascalContext
from vilseg_data.labelled.folder import FolderSet
from vilseg_data.labelled.voc import VocSegmentation
from vilseg_data.world.dataset import WORLDS, WorldLabelled
from vilseg_data.world.scene import Compositions

_ON_DISK: dict[str, Callable[..., LabelledSet]] = {
    "voc": VocSegmentation,
    "voc-20": partial(VocSegmentation, classes=20),
    "voc-aug": partial(VocSegmentation, annotations="aug"),
    "context": PascalContext,
    "context-60": partial(PascalContext, classes=60),
    "context-33": partial(PascalContext, classes=33),
    "coco-stuff": CocoStuff,
    "coco-stuff-182": partial(CocoStuff, classes=182),
    "coco-object": partial(CocoStuff, classes=81),
    "folder": FolderSet,
}
# COCO-Object has none: no split of it is published.
_OWN_UNSEEN = frozenset((*WORLDS, "folder", "coco-object"))
LABELLED_SETS = (*WORLDS, *_ON_DISK)


def build_labelled(
    name: str,
    *,
    root: str | Path | None = None,
    split: str | None = None,
    count: int | None = None,
    unseen: str | None = None,
    size: int | None = None,
    seed: int = 0,
    compositions: Compositions = "any",
) -> LabelledSet:
    """The labelled set `name`, one of `LABELLED_SETS`.

    `root` is the folder of a set on disk; which form of the set it holds is found out. `split` is
    "val" unless given ("test" of COCO-Stuff 10k). `count` is how many scenes the world has (200)
    or how many images of the split are taken (all). `unseen` names a zero-shot split of the set in
    `ZERO_SHOT` ("vilseg" unless given). `size`, `seed` and `compositions` are the worlds': pixels
    a side (64), the seed they are drawn from, and as in `WorldLabelled`.
    """
    if name not in LABELLED_SETS:
        raise ValueError(
            f"name: expected one of {sorted(LABELLED_SETS)}, came {name!r}; choose one"
        )
    if unseen is not None and name in _OWN_UNSEEN:
        raise ValueError(
            f"unseen: expected none for {name!r}, came {unseen!r}; its unseen classes are not "
            "chosen by name"
        )
    if name in WORLDS:
        if root is not None:
            raise ValueError(f"root: expected none for {name!r}, came {root}; it reads no files")
        return WorldLabelled(
            world=name,
            split="val" if split is None else split,
            count=200 if count is None else count,
            image_size=64 if size is None else size,
            seed=seed,
            compositions=compositions,
        )
    if root is None:
        raise ValueError(
            f"root: expected a folder for {name!r}, came none; give the folder that holds the "
            "unpacked set"
        )
    if size is not None:
        raise ValueError(
            f"size: expected none for {name!r}, came {size}; photos keep their own size"
        )
    options = {"split": split, "unseen": unseen, "count": count}
    return _ON_DISK[name](root, **{key: v for key, v in options.items() if v is not None})
