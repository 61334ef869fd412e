"""Class lists say no more and no less than their ids."""

import numpy as np
import pytest

from vilseg_data import ClassList


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
    with pytest.raises(ValueError, match=r"names must be classes of the set, got \['pot plant'\]"):
        classes.ids(["pot plant"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompts": ("sky",)}, "must be equally long, got 2 names, 1 prompts"),
        ({"palette": np.zeros((3, 3), dtype=np.uint8)}, r"a palette of shape \(3, 3\)"),
        ({"names": ("sky", "sky")}, r"names must differ, got \['sky'\] twice"),
        ({"prompts": ("a", "a")}, r"prompts must differ, got \['a'\] twice"),
        ({"unseen": (2,)}, r"ids in 0\.\.1, got \[2\]"),
        ({"background": -1}, r"ids in 0\.\.1, got \[-1\]"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_list(**fields)
