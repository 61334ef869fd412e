"""Masks as they lie in files, and the tables that turn their values into class ids.

A reader gives the values of a file as they stand, (h, w); a table, one entry for each value, says
which class that is. So every form of a set is read without a conversion step.
"""

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from vilseg_data.captions.sample import BrokenSampleError
from vilseg_data.labelled.classes import IGNORE

Values = npt.NDArray[np.integer[Any]]
UNKNOWN = -1


class Masks(Protocol):
    """The masks of a set by the key of their image; nothing is read before `read`."""

    def keys(self) -> set[str]: ...

    def where(self, key: str, /) -> str: ...

    def read(self, key: str, /) -> Values: ...


class MaskFolder:
    """One file for each mask, `<key><suffix>`: ".png" by Pillow, ".mat" by SciPy.

    `variable` is the array's name in a .mat file. SciPy is looked for at once.
    """

    def __init__(self, folder: Path, *, suffix: str = ".png", variable: str | None = None) -> None:
        self._folder, self._suffix, self._variable = folder, suffix, variable
        self._loadmat = None if variable is None else _find_loadmat()

    def keys(self) -> set[str]:
        return set(stems(self._folder, suffixes=(self._suffix,)))

    def where(self, key: str) -> str:
        return str(self._folder / f"{key}{self._suffix}")

    def read(self, key: str) -> Values:
        path = self._folder / f"{key}{self._suffix}"
        if self._loadmat is None or self._variable is None:
            return read_png(path)
        return _read_mat(path, variable=self._variable, loadmat=self._loadmat)


def stems(folder: Path, *, suffixes: tuple[str, ...]) -> dict[str, str]:
    """The names of the files in a folder that end in one of `suffixes`, by what stands before it.

    Suffixes are given in lower case. Two files that differ in their suffix alone are a ValueError.
    """
    found: dict[str, str] = {}
    # Names as text: as paths, COCO's 118,000 photos and masks take 11 s to list in place of 2.
    for name in sorted(os.listdir(folder)):
        stem, suffix = os.path.splitext(name)
        # Archives made on macOS hold a "._name" beside each file.
        if suffix.lower() not in suffixes or name.startswith("."):
            continue
        if stem in found:
            raise ValueError(
                f"{folder}: expected one file for {stem}, came {found[stem]} and {name}; keep one "
                "of them"
            )
        found[stem] = name
    return found


def read_png(path: Path) -> Values:
    """The values of a palette or 8-bit grey image, uint8 (h, w).

    Anything else raises `BrokenSampleError` that names the file.
    """
    # As in decoding photos: Pillow raises errors of many kinds on damaged files.
    try:
        with Image.open(path) as image:
            mode = image.mode
            values = np.array(image) if mode in ("P", "L") else None
    except Exception as error:
        raise BrokenSampleError(str(path), f"unreadable mask: {error}") from error
    if values is None:
        raise BrokenSampleError(
            str(path),
            f"mode {mode}, expected palette indices (mode P, or L with ids): a mask converted to "
            "colours has lost its ids, use the PNG as distributed",
        )
    return values


def _find_loadmat() -> Any:
    try:
        return importlib.import_module("scipy.io").loadmat
    except ImportError as error:
        raise ValueError(
            "masks in .mat files need scipy, which is not installed; install it with: "
            "pip install scipy"
        ) from error


def _read_mat(path: Path, *, variable: str, loadmat: Any) -> Values:
    # SciPy, too, meets damage with errors of many kinds.
    try:
        content = loadmat(path, variable_names=[variable], appendmat=False)
    except NotImplementedError as error:
        raise BrokenSampleError(
            str(path),
            "MATLAB 7.3 (HDF5), expected version 5: COCO-Stuff 10k v1.0 is stored so and its ids "
            "are off by one, use v1.1",
        ) from error
    except Exception as error:
        raise BrokenSampleError(str(path), f"unreadable mask: {error}") from error
    if variable not in content:
        raise BrokenSampleError(
            str(path), f"no variable {variable}: not a label map of this set, use it as distributed"
        )
    values = np.asarray(content[variable])
    whole = values.ndim == 2 and values.dtype.kind in "uif"
    if not whole or (values.dtype.kind == "f" and not np.all(values == np.trunc(values))):
        raise BrokenSampleError(
            str(path),
            f"{variable} is {values.dtype} of shape {values.shape}, expected whole numbers "
            "(h, w): use the label map as distributed",
        )
    return values.astype(np.int64)


def value_table(ids: Mapping[int, int]) -> npt.NDArray[np.int64]:
    """A table from {value in the file: class id or 255}; a value left out is unknown."""
    table = np.full(max(ids) + 1, UNKNOWN, dtype=np.int64)
    table[list(ids)] = list(ids.values())
    return table


def relabel(values: Values, table: npt.NDArray[np.int64], *, where: str) -> Tensor:
    """Class ids, int64 (h, w), of the values of a mask; `where` names it in errors.

    A value without an entry in `table` raises `BrokenSampleError`.
    """
    if values.min(initial=0) >= 0 and values.max(initial=0) < len(table):
        labels = table[values]
        if not (labels == UNKNOWN).any():
            return torch.from_numpy(labels)
    known = set(np.flatnonzero(table != UNKNOWN).tolist())
    wrong = sorted(set(np.unique(values).tolist()) - known)
    raise BrokenSampleError(
        where,
        f"ids {wrong[:5]}, expected {_ranges(sorted(known))}: not a mask of this class list, or "
        "grey levels in place of ids",
    )


def _ranges(known: Sequence[int]) -> str:
    """Ascending values as text: "0..20 or 255"."""
    starts = [value for value in known if value - 1 not in known]
    ends = [value for value in known if value + 1 not in known]
    parts = [str(a) if a == b else f"{a}..{b}" for a, b in zip(starts, ends, strict=True)]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


def plain_table(count: int) -> npt.NDArray[np.int64]:
    """The table of masks whose values are the ids 0..count - 1, and 255."""
    return value_table({value: value for value in (*range(count), IGNORE)})
