"""The members of an uncompressed tar, read forwards from any stream, with its damage named.

The standard library decodes the headers. Its `TarFile` does not walk over them here: at a damaged
or missing header after the first it ends as if the archive were complete, it goes round in circles
on sizes below zero, and it holds every member it has passed.
"""

import io
import tarfile
from collections.abc import Iterator
from typing import NamedTuple, Protocol

_BLOCK = 512
_CHUNK = 1 << 20
_ZEROS = bytes(_BLOCK)
_GZIP = b"\x1f\x8b"
_MAX_NAME = 1 << 20  # no path is longer; a header that claims more is not worth its memory
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)


class Readable(Protocol):
    """What a tar is read from: a file, or the standard output of a program."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class Member(NamedTuple):
    """A file in the tar: `size` bytes from byte `offset`."""

    name: str
    offset: int
    size: int


def _length(file: Readable) -> int | None:
    """Bytes in all, or None where the stream only goes forwards."""
    if not isinstance(file, io.BufferedIOBase) or not file.seekable():
        return None
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    return length


def _pax(data: bytes) -> dict[str, str]:
    """The records "length key=value\\n" of an extended header, as far as they are well formed."""
    records = {}
    while data:
        digits = data.partition(b" ")[0]
        end = int(digits) if digits.isdigit() and len(digits) < 10 else 0
        if end <= len(digits) + 1:
            break
        key, _, value = data[len(digits) + 1 : end - 1].partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        data = data[end:]
    return records


class TarReader:
    """Reads `file` from its start to its end; `damage` says what was wrong with it so far.

    Names are only ever text: nothing is written to disk. Errors of `file` itself pass through.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._length = _length(file)
        self._position = 0
        self.damage: list[str] = []

    def members(self) -> Iterator[Member]:
        """Every regular file; take its data, if at all, before going on to the next."""
        name: str | None = None
        size: int | None = None
        zeros, sound = 0, True
        while True:
            at = self._position
            block = self._take(_BLOCK)
            if len(block) < _BLOCK:
                self.damage.append(f"cut short: ends at byte {at + len(block)} without an end mark")
                return
            if block == _ZEROS:
                zeros += 1
                # Behind a damaged header zeros may be the data of a picture.
                if zeros == 2 and sound:
                    self._drain()
                    return
                continue
            zeros = 0
            try:
                info = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
            except tarfile.HeaderError:
                info = None
            if info is None or info.size < 0:
                if sound:
                    packed = "; compressed, unpack it first" if block[:2] == _GZIP else ""
                    self.damage.append(f"no valid header at byte {at}{packed}")
                sound = False
                continue
            sound = True
            end = self._position + info.size
            if info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME):
                data = self._take(info.size) if info.size <= _MAX_NAME else b""
                if info.type == tarfile.GNUTYPE_LONGNAME:
                    name = data.rstrip(b"\0").decode("utf-8", "replace")
                else:
                    records = _pax(data)
                    name = records.get("path", name)
                    digits = records.get("size", "")
                    size = int(digits) if digits.isdecimal() and len(digits) < 19 else size
            else:
                end = self._position + (info.size if size is None else size)
                if info.type in _FILES:
                    yield Member(name or info.name, self._position, end - self._position)
                if info.type != tarfile.GNUTYPE_LONGLINK and info.type != tarfile.XGLTYPE:
                    name = size = None
            self._skip_to(-(-end // _BLOCK) * _BLOCK)

    def read(self, member: Member) -> bytes:
        """The data of the member just given; fewer bytes than its size where the tar is cut."""
        return self._take(member.size)

    def skip(self, member: Member) -> bool:
        """Pass over the data of the member just given; whether all of it is there."""
        return self._skip_to(member.offset + member.size)

    def _take(self, count: int) -> bytes:
        # In pieces, so that a size that is not true costs no memory.
        pieces = []
        while count and (piece := self._file.read(min(count, _CHUNK))):
            pieces.append(piece)
            count -= len(piece)
            self._position += len(piece)
        return b"".join(pieces)

    def _skip_to(self, end: int) -> bool:
        if self._length is not None:
            assert isinstance(self._file, io.BufferedIOBase)
            self._position = self._file.seek(max(self._position, min(end, self._length)))
        else:
            while self._position < end:
                piece = self._file.read(min(end - self._position, _CHUNK))
                if not piece:
                    break
                self._position += len(piece)
        return self._position >= end

    def _drain(self) -> None:
        """Read to the end: a program that is cut off before it reports failure."""
        if self._length is None:
            while self._file.read(_CHUNK):
                pass
