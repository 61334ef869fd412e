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

    def hashes(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """The hashes of the images that are not blank, and their positions."""
        places = np.flatnonzero(np.array(self._blank, dtype=np.uint8) == 0)
        return np.array(self._hashes, dtype=np.uint64)[places], places


def copies(images: Hashed, *, near: int) -> Iterator[Finding]:
    """One finding for each image that an earlier one is a copy of, by its bytes or its looks."""
    firsts = _firsts(images.digests())
    same = firsts != np.arange(len(images))
    for place in np.flatnonzero(same):
        reason = f"the same file as {images.keys[int(firsts[place])]}"
        yield Finding("duplicate-image", images.keys[int(place)], reason)
    for other, (bits, first) in sorted(_near_copies(images, near=near).items()):
        if not same[other]:
            reason = f"{bits} of 64 bits from {images.keys[first]}"
            yield Finding("near-duplicate-image", images.keys[other], reason)


def _near_copies(images: Hashed, *, near: int) -> dict[int, tuple[int, int]]:
    """For each image with a near earlier one: how many bits apart, and which."""
    hashes, places = images.hashes()
    unique, index, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    firsts = index[inverse]
    # Equal ones apart: a picture met a thousand times would make a million pairs.
    nearest = {
        int(places[k]): (0, int(places[firsts[k]]))
        for k in np.flatnonzero(firsts != np.arange(len(hashes)))
    }
    for i, j, bits in near_pairs(unique, unique, most=near):
        first, second = int(places[index[i]]), int(places[index[j]])
        if first < second:
            nearest[second] = min(nearest.get(second, (bits, first)), (bits, first))
    return nearest


def repeated_captions(
    images: Hashed, *, spoken: "array[int]", speaker: "array[int]"
) -> Iterator[Finding]:
    """One finding for each caption that was met before.

    spoken: digests of captions; speaker: the position in `images` of the image of each.
    """
    firsts = _firsts(np.array(spoken, dtype=np.uint64))
    for place in np.flatnonzero(firsts != np.arange(len(spoken))):
        own, other = speaker[place], speaker[firsts[place]]
        where = "another caption of its own" if own == other else f"one of {images.keys[other]}"
        yield Finding("duplicate-caption", images.keys[own], f"the same as {where}")


def leaks(images: Hashed, against: Hashed, *, near: int) -> Iterator[Finding]:
    """One finding for each image that is, or nearly is, one of `against`."""
    hashes, places = images.hashes()
    theirs, their_places = against.hashes()
    unique, inverse = np.unique(hashes, return_inverse=True)
    their_unique, their_index = np.unique(theirs, return_index=True)
    nearest: dict[int, tuple[int, int]] = {}
    for i, j, bits in near_pairs(unique, their_unique, most=near):
        found = (bits, int(their_places[their_index[j]]))
        nearest[i] = min(nearest.get(i, found), found)
    met = np.zeros(len(unique), dtype=bool)
    met[list(nearest)] = True
    for place in np.flatnonzero(met[inverse]):
        bits, other = nearest[int(inverse[place])]
        reason = f"{bits} of 64 bits from {against.keys[other]} of {against.name}"
        yield Finding("leak", images.keys[int(places[place])], reason)


def _firsts(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """For each value the position where it is met first."""
    _, index, inverse = np.unique(values, return_index=True, return_inverse=True)
    return np.asarray(index[inverse])
