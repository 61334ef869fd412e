"""Which classes a zero-shot split holds back, as named data beside the class lists."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from vilseg_data.labelled.classes import ClassList, load_facts


@dataclass(frozen=True)
class ZeroShotSplit:
    """Classes by the set's own names: `unseen` in training, `validation` held out to tune on.

    All other foreground classes are seen.
    """

    unseen: tuple[str, ...]
    validation: tuple[str, ...] = ()

    def seen(self, classes: ClassList) -> tuple[str, ...]:
        """The foreground classes of `classes` that are in neither part, in their order."""
        held_back = {*self.unseen, *self.validation}
        return tuple(
            name
            for k, name in enumerate(classes.names)
            if k != classes.background and name not in held_back
        )


def _read(file: str) -> Mapping[str, ZeroShotSplit]:
    return MappingProxyType(
        {
            name: ZeroShotSplit(**{part: tuple(names) for part, names in parts.items()})
            for name, parts in load_facts(file)["zero_shot"].items()
        }
    )


ZERO_SHOT: Mapping[str, Mapping[str, ZeroShotSplit]] = MappingProxyType(
    {"voc": _read("voc"), "context": _read("context"), "coco-stuff": _read("coco_stuff")}
)
"""By family of sets and name: "vilseg" (the paper's: 5, 4, 15), "spnet", "cagnet", "zs3-2" ..."""


def with_unseen(classes: ClassList, split: ZeroShotSplit) -> ClassList:
    """`classes` with the unseen ids of `split`; a class that the list lacks is a ValueError."""
    return replace(classes, unseen=tuple(sorted(classes.ids(split.unseen))))


def choose_split(family: str, name: str) -> ZeroShotSplit:
    """A zero-shot split by the names of `ZERO_SHOT`."""
    known = ZERO_SHOT[family]
    if name not in known:
        raise ValueError(
            f"unseen: expected one of {sorted(known)} of {family}, came {name!r}; choose one"
        )
    return known[name]
