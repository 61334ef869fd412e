"""Class lists, and the shape of a labelled set."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import Tensor

IGNORE = 255


@dataclass(frozen=True, eq=False)
class ClassList:
    """The classes of a labelled set, in the order of their ids.

    names: the set's own spelling, id k at position k. prompts: the same as readable words.
    unseen: ids whose masks no method may train on. background: the id of "none of these", if any.
    palette: uint8 (k, 3) colours to draw them in.
    """

    names: tuple[str, ...]
    prompts: tuple[str, ...]
    unseen: tuple[int, ...]
    background: int | None
    palette: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        count = len(self.names)
        if len(self.prompts) != count or self.palette.shape != (count, 3):
            raise ValueError(
                f"names, prompts, palette: expected equal lengths, came {count} names, "
                f"{len(self.prompts)} prompts and a palette of shape {self.palette.shape}; "
                "give one prompt and one colour for each name"
            )
        for field, values in (("names", self.names), ("prompts", self.prompts)):
            repeated = sorted({value for value in values if values.count(value) > 1})
            if repeated:
                raise ValueError(
                    f"{field}: expected each once, came {repeated} twice; rename or drop one"
                )
        ids = (*self.unseen, *(() if self.background is None else (self.background,)))
        wrong = [k for k in ids if not 0 <= k < count]
        if wrong:
            raise ValueError(
                f"unseen, background: expected ids in 0..{count - 1}, came {wrong}; "
                "ids count from 0 in the order of names"
            )

    def __len__(self) -> int:
        return len(self.names)

    def ids(self, names: Sequence[str]) -> tuple[int, ...]:
        """The ids of `names` (the set's own spelling); an unknown name is a ValueError."""
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ValueError(
                f"names: expected classes of the set, came {unknown}; choose of {self.names}"
            )
        return tuple(self.names.index(name) for name in names)


@dataclass(frozen=True, eq=False)
class LabelledSample:
    """One image, uint8 (3, h, w), and its labels, int64 (h, w): class ids, 255 = ignore."""

    key: str
    image: Tensor
    labels: Tensor


@runtime_checkable
class LabelledSet(Protocol):
    """Images with dense labels, addressed by position."""

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> ClassList: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> LabelledSample: ...


def load_facts(name: str) -> dict[str, Any]:
    """The data file `<name>.json` of this package: class names, zero-shot splits and lists."""
    text = files("vilseg_data.labelled").joinpath(f"{name}.json").read_text(encoding="utf-8")
    facts: dict[str, Any] = json.loads(text)
    return facts


def colour_map(count: int) -> npt.NDArray[np.uint8]:
    """The colours of the VOC devkit, uint8 (count, 3), all different up to 256.

    Bit 3 b + c of the id is bit 7 - b of channel c.
    """
    if not 0 <= count <= 256:
        raise ValueError(f"count: expected 0 to 256 classes, came {count}; ids are 8 bits wide")
    ids = np.arange(count)
    colours = np.zeros((count, 3), dtype=np.uint8)
    for bit in range(3):
        for channel in range(3):
            colours[:, channel] |= ((ids >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return colours
