"""A perceptual hash: 64 bits that a rescaled or recompressed copy of an image nearly keeps.

The signs of the 64 lowest frequencies of the image, the mean left out, against their median
(Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010). A mirrored,
turned or cropped copy has another hash.
"""

from collections.abc import Iterator
from itertools import combinations, islice, pairwise

import numpy as np
import numpy.typing as npt
from torch import Tensor

from vilseg_data.resize import resize_square

Hashes = npt.NDArray[np.uint64]

BITS = 64
# Of 250 VOC photos, copies at half and a third of the size, at JPEG quality 20 to 50 and 15 %
# brighter stay within 6 bits; of the 18 million pairs of Flickr8k's train photos one does, a copy.
NEAR = 6
_SIDE = 32
# More common bands: fewer comparisons, more sorting. Measured on random hashes.
_SIZES = (20_000, 500_000)
_CHUNK = 1 << 21  # pairs compared at once: about 100 MB
_LUMA = np.array([0.299, 0.587, 0.114])
# An image whose grey values span less than this is blank: its frequencies are noise.
_LEAST_CONTRAST = 8.0


def _cosines() -> npt.NDArray[np.float64]:
    frequencies, places = np.arange(_SIDE)[:, None], np.arange(_SIDE)[None]
    return np.asarray(np.cos(np.pi * frequencies * (2 * places + 1) / (2 * _SIDE)))


def _lowest() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    pairs = sorted(((u, v) for u in range(12) for v in range(12)), key=lambda p: (sum(p), p))
    chosen = np.array(pairs[1 : BITS + 1])
    return chosen[:, 0], chosen[:, 1]


_DCT = _cosines()
_ROWS, _COLUMNS = _lowest()


def perceptual_hash(image: Tensor) -> int | None:
    """The hash of a uint8 image (3, h, w), or None for a blank one, which looks like any other."""
    square = resize_square(image, size=_SIDE).permute(1, 2, 0).numpy()
    grey = square.astype(np.float64) @ _LUMA
    if np.ptp(grey) < _LEAST_CONTRAST:
        return None
    values = (_DCT @ grey @ _DCT.T)[_ROWS, _COLUMNS]
    bits = np.packbits(values > np.median(values))
    return int.from_bytes(bits.tobytes(), "big")


def distances(a: Hashes, b: Hashes) -> npt.NDArray[np.uint8]:
    """How many bits differ, element by element; arrays whose shapes broadcast."""
    bits = np.bitwise_xor(a, b)
    # Sums of neighbouring bits, then of pairs, of fours and of bytes, all in place:
    # np.bitwise_count is of NumPy 2.
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    fours = bits & np.uint64(0x3333333333333333)
    bits >>= np.uint64(2)
    bits &= np.uint64(0x3333333333333333)
    bits += fours
    bits += bits >> np.uint64(4)
    bits &= np.uint64(0x0F0F0F0F0F0F0F0F)
    bits *= np.uint64(0x0101010101010101)
    return np.asarray((bits >> np.uint64(56)).astype(np.uint8))


def near_pairs(
    a: Hashes, b: Hashes, *, most: int = NEAR, common: int | None = None
) -> Iterator[tuple[int, int, int]]:
    """Every (i, j, bits) with a[i] and b[j] at most `most` bits apart, each pair once.

    Two hashes that differ in at most m bits agree in c of m + c bands of bits or more, so only
    hashes with c common bands are compared: exact, without len(a) x len(b) comparisons. `common`
    is c, by default 1 to 3 by the size of `b`; it changes nothing but the time.

    Raises:
        ValueError: `most` is not in 0..16; beyond, the bands are too short to tell anything.
    """
    if not 0 <= most <= 16:
        raise ValueError(f"most: expected 0 to 16 bits, came {most}; 6 finds copies")
    if common is None:
        common = 1 + sum(len(b) > size for size in _SIZES)
    edges = [BITS * k // (most + common) for k in range(most + common + 1)]
    masks = [np.uint64((1 << high) - (1 << low)) for low, high in pairwise(edges)]
    for chosen in combinations(range(len(masks)), common):
        mask = np.bitwise_or.reduce([masks[k] for k in chosen])
        keys = a & mask
        for left, right in _candidates(keys, keys if b is a else b & mask):
            apart = distances(a[left], b[right])
            for place in np.flatnonzero(apart <= most):
                i, j = int(left[place]), int(right[place])
                agreeing = (k for k, part in enumerate(masks) if not (a[i] ^ b[j]) & part)
                # Every choice of bands that agree leads here; the first of them reports.
                if tuple(islice(agreeing, common)) == chosen:
                    yield i, j, int(apart[place])


def _candidates(
    a: Hashes, b: Hashes
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """The positions (i, j) with a[i] == b[j], some million pairs at a time."""
    # Both sorted: looking up in order keeps to memory that is at hand.
    order_a = np.argsort(a)
    order_b = order_a if b is a else np.argsort(b)
    sorted_a, sorted_b = a[order_a], b[order_b]
    low, high = (np.searchsorted(sorted_b, sorted_a, side) for side in ("left", "right"))
    counts = high - low
    ends = np.cumsum(counts)
    start = 0
    while start < len(a):
        done = ends[start] - counts[start]
        stop = max(start + 1, int(np.searchsorted(ends, done + _CHUNK, "right")))
        part = counts[start:stop]
        firsts = np.repeat(low[start:stop] - (ends[start:stop] - part - done), part)
        left = np.repeat(order_a[start:stop], part)
        yield left, order_b[firsts + np.arange(len(left))]
        start = stop
