"""Class lists say no more and no less than their ids."""

import numpy as np
import pytest

from vilseg_data import ClassList
from vilseg_data.labelled.classes import colour_map


def class_list(**fields: object) -> ClassList:
    values: dict[str, object] = {
        "names": ("sky", "potplant"),
        "prompts": ("sky", "pot plant"),
        "unseen": (1,),
        "background": None,
        "palette": np.zeros((2, 3), dtype=np.uint8),
    }
    return ClassList(**(values | fields))  # type: ignore[arg-type]


def test_ids_of_names() -> None:
    classes = class_list()
    assert len(classes) == 2
    assert classes.ids(["potplant", "sky"]) == (1, 0)
    with pytest.raises(
        ValueError, match=r"names: expected classes of the set, came \['pot plant'\]"
    ):
        classes.ids(["pot plant"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"prompts": ("sky",)},
            "names, prompts, palette: expected equal lengths, came 2 names, 1 prompts",
        ),
        ({"palette": np.zeros((3, 3), dtype=np.uint8)}, r"a palette of shape \(3, 3\)"),
        ({"names": ("sky", "sky")}, r"names: expected each once, came \['sky'\] twice"),
        ({"prompts": ("a", "a")}, r"prompts: expected each once, came \['a'\] twice"),
        ({"unseen": (2,)}, r"ids in 0\.\.1, came \[2\]"),
        ({"background": -1}, r"ids in 0\.\.1, came \[-1\]"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_list(**fields)


def test_colours_differ() -> None:
    colours = [tuple(colour) for colour in colour_map(256).tolist()]
    assert len(set(colours)) == 256
    assert [tuple(colour) for colour in colour_map(9).tolist()] == colours[:9]
    with pytest.raises(ValueError, match="count: expected 0 to 256 classes, came 257"):
        colour_map(257)
