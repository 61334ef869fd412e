"""Labelled sets by name."""

from pathlib import Path

from vilseg_data.labelled.classes import LabelledSet
from vilseg_data.labelled.voc import VocSegmentation
from vilseg_data.world.dataset import WorldLabelled


def _world(
    *, root: Path | None, split: str | None, count: int | None, size: int | None, seed: int
) -> LabelledSet:
    if root is not None:
        raise ValueError(f"root must be left out for 'world', got {root}; it reads no files")
    return WorldLabelled(
        split="val" if split is None else split,
        count=200 if count is None else count,
        image_size=64 if size is None else size,
        seed=seed,
    )


def _voc(
    *, root: Path | None, split: str | None, count: int | None, size: int | None, seed: int
) -> LabelledSet:
    del seed
    if root is None:
        raise ValueError(
            "root must be given for 'voc', got none; it is the folder that holds JPEGImages and "
            "SegmentationClass, or VOCdevkit/VOC2012 with them"
        )
    if size is not None:
        raise ValueError(f"size must be left out for 'voc', got {size}; photos keep their own size")
    return VocSegmentation(root, split="val" if split is None else split, count=count)


_BUILDERS = {"world": _world, "voc": _voc}


def build_labelled(
    name: str,
    *,
    root: str | Path | None = None,
    split: str | None = None,
    count: int | None = None,
    size: int | None = None,
    seed: int = 0,
) -> LabelledSet:
    """The labelled set `name`: "world" or "voc".

    `split` is "val" unless given. `count` is how many scenes the world has (200) or how many
    images of the split are taken (all). `size` and `seed` are the world's: pixels a side (64) and
    the seed it is drawn from.
    """
    if name not in _BUILDERS:
        raise ValueError(f"name must be one of {sorted(_BUILDERS)}, got {name!r}; choose one")
    folder = None if root is None else Path(root)
    return _BUILDERS[name](root=folder, split=split, count=count, size=size, seed=seed)
