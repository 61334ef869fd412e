"""Images and captions that occur twice, by their hashes, in little memory."""

from array import array
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from vilseg_data.survey.hashing import near_pairs
from vilseg_data.survey.records import Finding


class Names:
    """A list of strings that takes their bytes and eight more each; a Python list takes 60 more."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("Q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        data = self._bytes[self._ends[index] : self._ends[index + 1]]
        return data.decode("utf-8", "surrogatepass")

    def append(self, name: str) -> None:
        """Add one more."""
        self._bytes += name.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))


class Hashed:
    """The hashes of the images of a set, in order, with their keys."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.keys = Names()
        self._hashes, self._digests, self._blank = array("Q"), array("Q"), array("B")

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, key: str, hash: int | None, *, digest: int = 0) -> None:
        """One more image; `hash` is None for a blank one, `digest` is of the bytes of its file."""
        self.keys.append(key)
        self._hashes.append(hash or 0)
        self._digests.append(digest)
        self._blank.append(hash is None)

    def digests(self) -> npt.NDArray[np.uint64]:
        """The digest of every image."""
        return np.array(self._digests, dtype=np.uint64)

    def distinct(self) -> tuple[npt.NDArray[np.uint64], list[npt.NDArray[np.int64]]]:
        """The hashes that occur, blank images left out, and the images of each, in order."""
        places = np.flatnonzero(np.array(self._blank, dtype=np.uint8) == 0)
        return _groups(np.array(self._hashes, dtype=np.uint64)[places], places)


def _groups(
    values: npt.NDArray[np.uint64], places: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint64], list[npt.NDArray[np.int64]]]:
    order = np.argsort(values, kind="stable")
    unique, starts = np.unique(values[order], return_index=True)
    return unique, np.split(places[order], starts[1:]) if len(unique) else []


def copies(
    images: Hashed, *, spoken: "array[int]", speaker: "array[int]", near: int
) -> Iterator[Finding]:
    """One finding for each image and each caption that an earlier sample has already.

    spoken: digests of captions; speaker: the position in `images` of the image of each.
    """
    digests = images.digests()
    same = np.zeros(len(images), dtype=bool)
    for group in _groups(digests, np.arange(len(images)))[1]:
        same[group[1:]] = True
        for place in group[1:]:
            reason = f"the same file as {images.keys[int(group[0])]}"
            yield Finding("duplicate-image", images.keys[int(place)], reason)
    yield from _near_copies(images, same, near=near)
    for group in _groups(np.array(spoken, dtype=np.uint64), np.array(speaker, dtype=np.int64))[1]:
        for place in group[1:]:
            reason = f"the same caption as {images.keys[int(group[0])]}"
            yield Finding("duplicate-caption", images.keys[int(place)], reason)


def _near_copies(images: Hashed, same: npt.NDArray[np.bool_], *, near: int) -> Iterator[Finding]:
    hashes, groups = images.distinct()
    nearest: dict[int, tuple[int, int]] = {}
    for group in groups:
        for place in group[1:]:
            nearest[int(place)] = (0, int(group[0]))
    for i, j, bits in near_pairs(hashes, hashes, most=near):
        first, second = int(groups[i][0]), int(groups[j][0])
        if first < second:
            nearest[second] = min(nearest.get(second, (bits, first)), (bits, first))
    for place, (bits, first) in sorted(nearest.items()):
        if not same[place]:
            reason = f"{bits} of 64 bits from {images.keys[first]}"
            yield Finding("near-duplicate-image", images.keys[place], reason)


def leaks(images: Hashed, against: Hashed, *, near: int) -> Iterator[Finding]:
    """One finding for each image that is, or nearly is, one of `against`."""
    hashes, groups = images.distinct()
    theirs, their_groups = against.distinct()
    nearest: dict[int, tuple[int, int]] = {}
    for i, j, bits in near_pairs(hashes, theirs, most=near):
        other = int(their_groups[j][0])
        for place in groups[i]:
            nearest[int(place)] = min(nearest.get(int(place), (bits, other)), (bits, other))
    for place, (bits, other) in sorted(nearest.items()):
        reason = f"{bits} of 64 bits from {against.keys[other]} of {against.name}"
        yield Finding("leak", images.keys[place], reason)
