"""Masks as run lengths, the form of COCO's annotations.

Runs of 0 and 1 in turn, 0 first, down the columns of an (h, w) mask. They stand as a list of
numbers or as text: each number in groups of 5 bits, low ones first, as characters from "0" on,
where bit 5 says that more follow and bit 4 of the last is the sign; from the fourth number on, the
difference to the number two places before. (The format: cocodataset/cocoapi, maskApi.c.)
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def decode_rle(
    counts: str | bytes | Sequence[int], *, height: int, width: int
) -> npt.NDArray[np.bool_]:
    """The mask, bool (height, width); a ValueError where the runs do not fill it."""
    runs = _parse(counts) if isinstance(counts, str | bytes) else list(counts)
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(
            f"counts: expected runs that fill {height} x {width} pixels, came "
            f"{sum(runs)} pixels{' with negative runs' if any(r < 0 for r in runs) else ''}; "
            "the annotation is damaged"
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def _parse(text: str | bytes) -> list[int]:
    runs: list[int] = []
    number, shift = 0, 0
    for byte in text.encode() if isinstance(text, str) else text:
        bits = byte - 48
        if not 0 <= bits < 64:
            raise ValueError(
                f"counts: expected characters '0' to 'o', came {chr(byte)!r}; the annotation is "
                "damaged"
            )
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number, shift = 0, 0
    if shift:
        raise ValueError(
            "counts: expected a whole last number, came text that is cut short; the annotation is "
            "damaged"
        )
    return runs
