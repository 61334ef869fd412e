"""What may be predicted, what is kept and what is averaged over: every setting, as data.

Unlabelled pixels are dropped everywhere, background unless the protocol counts it. SPNet calls two
of the settings `gzlss` and `zlss`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from typing import Protocol as Interface

Which = Literal["all", "seen", "unseen"]
Selection = Which | tuple[str, ...]
"""Foreground classes: all, the seen, the unseen, or those of these names."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A setting.

    Args:
        candidates: the classes a pixel may get.
        scored: the classes averaged over.
        keep_outside: whether ground truth of foreground classes that are not scored stays in, so
            that a scored class predicted there is a false positive.
        background: whether background is a class like any other: a candidate, kept, and averaged
            over with the seen classes. Otherwise its pixels are dropped.
        harmonic: whether the scores are the harmonic means of those of the seen and of the unseen
            classes; `scored` is "all" then.
    """

    name: str
    title: str
    candidates: Selection
    scored: Selection
    keep_outside: bool
    background: bool = False
    harmonic: bool = False

    @property
    def matrix(self) -> str:
        """The name of the matrix it is read from: that of its candidates."""
        base = self.candidates if isinstance(self.candidates, str) else "custom"
        if not self.background:
            return base
        return "background" if base == "all" else f"{base}-background"

    def with_background(self) -> Protocol:
        """The same with background as a class."""
        return replace(
            self,
            name=f"{self.name}-background",
            title=f"{self.title}, with background",
            background=True,
        )

    def half(self, which: Literal["seen", "unseen"]) -> Protocol:
        """The part of a harmonic mean that scores the seen or the unseen classes."""
        return replace(self, scored=which, harmonic=False)


_BASE = (
    Protocol(
        name="gzlss",
        title="unseen classes, generalised",
        candidates="all",
        scored="unseen",
        keep_outside=True,
    ),
    Protocol(
        name="seen",
        title="seen classes, generalised",
        candidates="all",
        scored="seen",
        keep_outside=True,
    ),
    Protocol(
        name="harmonic",
        title="harmonic mean of seen and unseen",
        candidates="all",
        scored="all",
        keep_outside=True,
        harmonic=True,
    ),
    Protocol(name="all", title="all classes", candidates="all", scored="all", keep_outside=True),
)
_RESTRICTED = Protocol(
    name="zlss",
    title="unseen classes, restricted",
    candidates="unseen",
    scored="unseen",
    keep_outside=False,
)

PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (*_BASE, _RESTRICTED, *(protocol.with_background() for protocol in _BASE))
}


def usual_protocols(*, background: bool) -> tuple[Protocol, ...]:
    """Those scored in every evaluation; with `background` also those that count it as a class."""
    return tuple(p for p in PROTOCOLS.values() if background or not p.background)


class NamedClasses(Interface):
    """What is read of a data set's class list (`vilseg_data.ClassList` fits)."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def unseen(self) -> Sequence[int]: ...
    @property
    def background(self) -> int | None: ...


@dataclass(frozen=True)
class ClassSets:
    """Class ids as sets: `names` of all ids in order, `unseen` ids, and the `background` id."""

    names: tuple[str, ...]
    unseen: tuple[int, ...]
    background: int | None

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ValueError("names: expected different class names; rename the repeated ones")
        wrong = [i for i in self.unseen if not 0 <= i < len(self.names) or i == self.background]
        if wrong:
            raise ValueError(
                f"unseen: expected ids of foreground classes below {len(self.names)}, got {wrong}"
            )

    @classmethod
    def of(cls, classes: NamedClasses) -> ClassSets:
        return cls(tuple(classes.names), tuple(int(i) for i in classes.unseen), classes.background)

    @property
    def foreground(self) -> tuple[int, ...]:
        return tuple(i for i in range(len(self.names)) if i != self.background)

    def ids(self, which: Selection) -> tuple[int, ...]:
        """The ids of the foreground classes selected, ascending."""
        if isinstance(which, tuple):
            unknown = [n for n in which if n not in self.names or self._is_background(n)]
            if unknown or not which:
                raise ValueError(
                    f"classes: expected names of foreground classes, at least one, got "
                    f"{unknown or 'none'}; choose of {', '.join(self.names)}"
                )
            return tuple(sorted({self.names.index(name) for name in which}))
        if which == "all":
            return self.foreground
        return tuple(i for i in self.foreground if (i in self.unseen) == (which == "unseen"))

    def candidates(self, protocol: Protocol) -> tuple[int, ...]:
        """The classes a pixel may get, background included where the protocol counts it."""
        return self._joined(self.ids(protocol.candidates), background=protocol.background)

    def scored(self, protocol: Protocol) -> tuple[int, ...]:
        """The classes averaged over; background counts among the seen ones."""
        counted = protocol.background and protocol.scored in ("all", "seen")
        return self._joined(self.ids(protocol.scored), background=counted)

    def kept(self, protocol: Protocol) -> tuple[int, ...]:
        """The classes whose pixels stay in."""
        if not protocol.keep_outside:
            return self.scored(protocol)
        return self._joined(self.foreground, background=protocol.background)

    def _is_background(self, name: str) -> bool:
        return self.background is not None and name == self.names[self.background]

    def _joined(self, ids: tuple[int, ...], *, background: bool) -> tuple[int, ...]:
        if not background:
            return ids
        if self.background is None:
            raise ValueError(
                "background: expected a set with a background class, got one without; "
                "ignore background"
            )
        return tuple(sorted((*ids, self.background)))
