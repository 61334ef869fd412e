"""What benchmarks.data asks of an implementation, and what an implementation is."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.data_images import Images
from benchmarks.data_schema import Origin, Subject
from benchmarks.schema import Device

# The contender that is the limit of decoding; every subject that decodes has it.
RAW = "Pillow raw decode"


class Unavailable(Exception):
    """A peer is not installed, or has no such function; the message is the reason."""


@dataclass(frozen=True)
class Contender:
    """One implementation. `build` gives the call to time; what it must close goes on the stack."""

    name: str
    origin: Origin
    build: Callable[[ExitStack], Callable[[], object]]


@dataclass(frozen=True)
class Problem:
    """One subject at one size.

    Notation: n images a call; `size` is the side of a decoded image or of a global view in pixels,
    `local` that of each of `num_local` local views. A `least_bytes` of 0 means that the limit is
    the contender `RAW`. With `alone` implementations do not take turns: a loader works between its
    calls.
    """

    subject: Subject
    n: int
    sizes: dict[str, int]
    contenders: tuple[Contender, ...]
    least_bytes: int = 0
    alone: bool = False


@dataclass(frozen=True)
class Inputs:
    """Files, a folder for archives of them, and a batch (n, 3, s, s) in [0, 1] on the device."""

    images: Images
    folder: Path
    batch: Tensor
    device: Device
    seed: int
    size: int
    local: int
    num_local: int = 6


def load(module: str, *, package: str) -> Any:
    """A peer's module.

    Raises:
        Unavailable: it is not installed, or lacks what it needs itself.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise Unavailable(f"not installed ({error}): pip install {package}") from error
