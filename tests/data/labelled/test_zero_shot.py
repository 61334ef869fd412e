"""Zero-shot splits: parts of their class lists, as many as published."""

import pytest

from vilseg_data import ClassList
from vilseg_data.labelled import (
    VOC_CLASSES,
    ZERO_SHOT,
    ZeroShotSplit,
    coco_classes,
    context_classes,
    with_unseen,
)

CLASSES = {"voc": VOC_CLASSES, "context": context_classes(60), "coco-stuff": coco_classes(182)}
SPLITS = [(family, name) for family, splits in ZERO_SHOT.items() for name in splits]


@pytest.mark.parametrize(("family", "name"), SPLITS)
def test_the_parts_make_up_the_classes(family: str, name: str) -> None:
    split, classes = ZERO_SHOT[family][name], CLASSES[family]
    parts = [*split.unseen, *split.validation, *split.seen(classes)]
    foreground = [n for k, n in enumerate(classes.names) if k != classes.background]
    assert sorted(parts) == sorted(foreground)
    chosen = with_unseen(classes, split)
    assert {chosen.names[k] for k in chosen.unseen} == set(split.unseen)


@pytest.mark.parametrize(
    ("family", "name", "unseen", "validation"),
    [
        ("voc", "vilseg", 5, 0),
        ("voc", "spnet", 5, 3),
        ("context", "vilseg", 4, 0),
        ("context", "cagnet", 4, 0),
        ("coco-stuff", "vilseg", 15, 0),
        ("coco-stuff", "spnet", 15, 12),
        *((family, f"zs3-{k}", k, 0) for family in ("voc", "context") for k in (2, 4, 6, 8, 10)),
    ],
)
def test_their_sizes(family: str, name: str, unseen: int, validation: int) -> None:
    split = ZERO_SHOT[family][name]
    assert (len(split.unseen), len(split.validation)) == (unseen, validation)


@pytest.mark.parametrize("family", ["voc", "context"])
def test_larger_splits_of_zs3_hold_the_smaller(family: str) -> None:
    for k in (2, 4, 6, 8):
        small, large = (ZERO_SHOT[family][f"zs3-{n}"].unseen for n in (k, k + 2))
        assert large[:k] == small


def test_ids_of_spnet() -> None:
    split = ZERO_SHOT["coco-stuff"]["spnet"]
    assert CLASSES["coco-stuff"].ids(split.validation) == (
        *(3, 21, 38, 45, 51, 61, 75, 81, 93, 129, 136, 139),
    )
    assert len(split.seen(CLASSES["coco-stuff"])) == 155
    assert VOC_CLASSES.ids(ZERO_SHOT["voc"]["spnet"].validation) == (13, 14, 15)


def test_names_that_a_list_lacks_are_refused() -> None:
    classes: ClassList = context_classes(33)
    with pytest.raises(ValueError, match=r"names: expected classes of the set, came \['fence'\]"):
        with_unseen(classes, ZeroShotSplit(("cow", "fence")))
