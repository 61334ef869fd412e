"""The confusion matrix of every image, kept as its nonzero cells.

Legend: n images, k classes, m nonzero cells of all images. Cell g * (k + 1) + p holds the pixels of
ground truth g with prediction p; p = k is a prediction outside the candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Cells = tuple[NDArray[np.int32], Ints]
"""The nonzero cells of one image, ascending, and their pixels."""


def nonzero_cells(counts: Ints) -> Cells:
    """The cells of one image's matrix (k, k + 1)."""
    flat = counts.reshape(-1)
    cells = np.flatnonzero(flat)
    return cells.astype(np.int32), flat[cells]


@dataclass(frozen=True, eq=False)
class Marginals:
    """What every score needs of each image, each (n, k) int64.

    `hits`: pixels of class c that got c; `support`: pixels of class c; `predicted`: pixels of the
    kept ground truth that got c.
    """

    hits: Ints
    support: Ints
    predicted: Ints


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """Matrices of n images; image i owns entries starts[i] to starts[i + 1] of the other two."""

    classes: int
    starts: Ints
    cells: NDArray[np.int32]
    pixels: Ints

    def __post_init__(self) -> None:
        starts = self.starts
        sound = (
            starts.ndim == self.cells.ndim == self.pixels.ndim == 1
            and len(starts) > 0
            and starts[0] == 0
            and starts[-1] == len(self.cells) == len(self.pixels)
            and bool((np.diff(starts) >= 0).all())
        )
        if not sound:
            raise ValueError(
                f"starts, cells, pixels: expected entries of whole images, got lengths "
                f"{len(starts)}, {len(self.cells)} and {len(self.pixels)}; evaluate again"
            )
        last = self.classes * (self.classes + 1)
        if len(self.cells) and not (self.cells.min() >= 0 and self.cells.max() < last):
            raise ValueError(f"cells: expected 0 to {last - 1}, got others; evaluate again")
        if (self.pixels < 1).any():
            raise ValueError("pixels: expected counts of at least 1, got others; evaluate again")

    @classmethod
    def of(cls, images: Iterable[Cells], *, classes: int) -> ImageCounts:
        """From the cells of each image, in order."""
        parts = list(images)
        lengths = [len(cells) for cells, _ in parts]
        return cls(
            classes,
            np.cumsum([0, *lengths], dtype=np.int64),
            np.concatenate([np.zeros(0, np.int32), *(cells for cells, _ in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(pixels for _, pixels in parts)]),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ImageCounts)
            and self.classes == other.classes
            and all(
                np.array_equal(a, b) for a, b in zip(self._arrays(), other._arrays(), strict=True)
            )
        )

    def dense(self, index: int) -> Ints:
        """(k, k + 1) int64: the matrix of image `index`."""
        part = slice(self.starts[index], self.starts[index + 1])
        flat = np.zeros(self.classes * (self.classes + 1), dtype=np.int64)
        flat[self.cells[part]] = self.pixels[part]
        return flat.reshape(self.classes, self.classes + 1)

    def pooled(self) -> Ints:
        """(k, k + 1) int64: the exact sum over all images."""
        flat = np.zeros(self.classes * (self.classes + 1), dtype=np.int64)
        np.add.at(flat, self.cells, self.pixels)
        return flat.reshape(self.classes, self.classes + 1)

    def marginals(self, kept: Sequence[int]) -> Marginals:
        """By image and class; `kept` are the ground-truth classes whose pixels can be predicted
        wrongly."""
        k = self.classes
        rows, columns = np.divmod(self.cells.astype(np.int64), k + 1)
        owners = np.repeat(np.arange(len(self)), np.diff(self.starts))
        counted = np.isin(rows, kept) & (columns < k)
        return Marginals(
            hits=self._by_class(owners, rows, where=rows == columns),
            support=self._by_class(owners, rows),
            predicted=self._by_class(owners, columns, where=counted),
        )

    def arrays(self, name: str) -> dict[str, NDArray[np.generic]]:
        """What `from_arrays` reads, by array name."""
        return {
            f"starts_{name}": self.starts,
            f"cells_{name}": self.cells,
            f"pixels_{name}": self.pixels,
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[np.generic]], name: str, *, classes: int
    ) -> ImageCounts:
        """The counts saved under `name`; KeyError where they are not there."""
        return cls(
            classes,
            arrays[f"starts_{name}"].astype(np.int64, casting="safe"),
            arrays[f"cells_{name}"].astype(np.int32, casting="safe"),
            arrays[f"pixels_{name}"].astype(np.int64, casting="safe"),
        )

    def _by_class(self, owners: Ints, classes: Ints, *, where: object = True) -> Ints:
        chosen = np.broadcast_to(np.asarray(where), owners.shape)
        out = np.zeros((len(self), self.classes), dtype=np.int64)
        np.add.at(out, (owners[chosen], classes[chosen]), self.pixels[chosen])
        return out

    def _arrays(self) -> tuple[NDArray[np.generic], ...]:
        return self.starts, self.cells, self.pixels
