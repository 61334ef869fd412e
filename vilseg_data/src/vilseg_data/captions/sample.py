"""What every source of captions gives, and what it does with samples it cannot give."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class BrokenSampleError(ValueError):
    """One sample cannot be read; `key` names it, `reason` says why."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


class Broken(NamedTuple):
    """A sample that was left out, and why."""

    key: str
    reason: str


@dataclass(frozen=True, eq=False)
class CaptionSample:
    """One image, uint8 (3, h, w), and every caption of it."""

    key: str
    image: Tensor
    captions: tuple[str, ...]


@runtime_checkable
class CaptionSource(Protocol):
    """Images with captions, addressed by position.

    `broken` lists what was found missing while listing; those samples have no position.
    `__getitem__` raises `BrokenSampleError` for a sample whose image turns out unreadable.
    `captions` answers without decoding the image.
    """

    @property
    def name(self) -> str: ...

    @property
    def broken(self) -> list[Broken]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> CaptionSample: ...

    def captions(self, index: int, /) -> tuple[str, ...]: ...
