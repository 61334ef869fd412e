"""Labelled sets by name."""

from pathlib import Path

import numpy as np
import pytest
from tests.data.sources import write_voc

from vilseg_data import VocSegmentation, WorldLabelled, build_labelled


def test_world() -> None:
    default = build_labelled("world")
    assert isinstance(default, WorldLabelled)
    assert (default.split, len(default), default.image_size) == ("val", 200, 64)
    other = build_labelled("world", split="test", count=3, size=40, seed=2)
    assert isinstance(other, WorldLabelled)
    assert (other.split, len(other), other.image_size, other.seed) == ("test", 3, 40, 2)


def test_voc(tmp_path: Path) -> None:
    masks = {name: np.ones((4, 5)) for name in "ab"}
    write_voc(tmp_path, masks)
    write_voc(tmp_path, masks, split="mine")
    default = build_labelled("voc", root=str(tmp_path))
    assert isinstance(default, VocSegmentation)
    assert (default.split, len(default)) == ("val", 2)
    assert len(build_labelled("voc", root=tmp_path, split="mine", count=1)) == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ade", {}, r"name must be one of \['voc', 'world'\], got 'ade'"),
        ("voc", {}, "root must be given for 'voc', got none; it is the folder"),
        ("voc", {"root": "x", "size": 3}, "size must be left out for 'voc', got 3"),
        ("world", {"root": "x"}, "root must be left out for 'world', got x"),
    ],
)
def test_bad_arguments(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_labelled(name, **options)  # type: ignore[arg-type]
