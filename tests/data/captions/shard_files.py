"""Tar shards the tests share, written by the standard library."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from tests.data.sources import photo

Members = Sequence[tuple[str, bytes]]


def pack(members: Members, *, form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of the members in order."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def samples(numbers: Sequence[int], *, captions: int = 1) -> list[tuple[str, bytes]]:
    """For each number an image of that grey value and its captions "number 0", "number 1", ..."""
    members = []
    for number in numbers:
        spoken = ", ".join(f'"{number} {k}"' for k in range(captions))
        members += [
            (f"{number:05d}.png", photo(number % 256, size=(3, 2))),
            (f"{number:05d}.txt", f"{number} 0".encode()),
            (f"{number:05d}.json", f'{{"captions": [{spoken}], "width": 3}}'.encode()),
        ]
    return members


def write_shards(folder: Path, sizes: Sequence[int], *, captions: int = 1) -> Path:
    """Shards `00000.tar`, ... of so many samples, numbered on from one shard to the next."""
    folder.mkdir(parents=True, exist_ok=True)
    first = 0
    for number, size in enumerate(sizes):
        data = pack(samples(range(first, first + size), captions=captions))
        (folder / f"{number:05d}.tar").write_bytes(data)
        first += size
    return folder
