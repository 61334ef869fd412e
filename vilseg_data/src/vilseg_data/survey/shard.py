"""One tar of a packed source, on its way or there already."""

import hashlib
import io
import json
import tarfile
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from PIL import Image

from vilseg_data.captions.sample import BrokenSampleError
from vilseg_data.decode import decode_image
from vilseg_data.files import Part, naming, write_atomically
from vilseg_data.survey.look import Header, look, read_header
from vilseg_data.survey.records import Finding, Record

_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
_QUALITY = 95


class Shard(Protocol):
    """A shard that records are added to in order; `finish` or `discard` ends it."""

    def add(self, record: Record) -> None: ...

    def leave_out(self, finding: Finding) -> None: ...

    def finish(self) -> None: ...

    def discard(self) -> None: ...


def open_shard(folder: Path, number: int, *, digits: int, size: int | None) -> Shard:
    """The shard `number` of `folder`: to be written, or, where it is there, to be compared."""
    if (folder / f"{number:05d}.tar").is_file():
        return _Written(folder, number)
    return _Writing(folder, number, digits=digits, size=size)


class _Written:
    """A shard that is there already: only that it is of the same samples is looked at."""

    def __init__(self, folder: Path, number: int) -> None:
        self._name = str(folder / f"{number:05d}.tar")
        stats = json.loads((folder / f"{number:05d}_stats.json").read_text("utf-8"))
        self._expected = stats["names_sha256"]
        self._names = hashlib.sha256()

    def add(self, record: Record) -> None:
        _note_name(self._names, record)

    def leave_out(self, finding: Finding) -> None:
        """Its stats have it."""

    def finish(self) -> None:
        if self._names.hexdigest() != self._expected:
            raise ValueError(
                f"out: expected the samples that the source has there in {self._name}, came "
                "others; the source has changed: pack it into another folder"
            )

    def discard(self) -> None:
        """Nothing was begun."""


class _Writing:
    """A shard on its way: a hidden file until it is whole."""

    def __init__(self, folder: Path, number: int, *, digits: int, size: int | None) -> None:
        self._folder, self._number, self._digits, self._size = folder, number, digits, size
        self._part = Part(folder / f"{number:05d}.tar")
        self._broken: list[Finding] = []
        self._names = hashlib.sha256()
        self._met = self._samples = 0
        self._tar = tarfile.TarFile(fileobj=self._part.file, mode="w", format=tarfile.GNU_FORMAT)

    def leave_out(self, finding: Finding) -> None:
        self._broken.append(finding)

    def add(self, record: Record) -> None:
        key = f"{self._number:05d}{self._met:0{self._digits}d}"
        self._met += 1
        _note_name(self._names, record)
        members = _members(record, key=key, size=self._size)
        if isinstance(members, Finding):
            self._broken.append(members)
            return
        with naming(self._part.path):
            for suffix, data in members.items():
                # TarInfo's own defaults: mode 0644, no owner, time 0. So bytes depend on data.
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                self._tar.addfile(info, io.BytesIO(data))
        self._samples += 1

    def finish(self) -> None:
        with naming(self._part.path):
            self._tar.close()
        self._part.complete()
        stats = {
            "samples": self._samples,
            "broken": [asdict(finding) for finding in self._broken],
            "names_sha256": self._names.hexdigest(),
        }
        # Before the tar: whoever finds the tar finds its stats.
        write_json(self._folder / f"{self._number:05d}_stats.json", stats)
        self._part.move()

    def discard(self) -> None:
        self._part.discard()


def _note_name(names: "hashlib._Hash", record: Record) -> None:
    names.update(record.key.encode("utf-8", "surrogatepass") + b"\0")


def _members(record: Record, *, key: str, size: int | None) -> dict[str, bytes] | Finding:
    try:
        data = record.read()
    except BrokenSampleError as error:
        return Finding("bad-image", record.key, error.reason)
    original = read_header(data, key=record.key)
    if isinstance(original, Finding):
        return original
    finding = look(data, key=record.key).finding
    if finding is not None:
        return finding
    header = original
    if size is not None and min(original.width, original.height) > size:
        data, header = _scaled(data, key=record.key, size=size)
    about = {
        "caption": record.captions[0],
        "captions": list(record.captions),
        "key": key,
        "name": record.key,
        "status": "success",
        "error_message": None,
        "width": header.width,
        "height": header.height,
        "original_width": original.width,
        "original_height": original.height,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return {
        _SUFFIXES.get(header.format, header.format.lower()): data,
        "txt": record.captions[0].encode("utf-8", "replace"),
        "json": json.dumps(about).encode(),
    }


def _scaled(data: bytes, *, key: str, size: int) -> tuple[bytes, Header]:
    image = Image.fromarray(decode_image(data, key=key).permute(1, 2, 0).contiguous().numpy())
    scale = size / min(image.size)
    wanted = (max(size, round(image.width * scale)), max(size, round(image.height * scale)))
    file = io.BytesIO()
    image.resize(wanted, Image.Resampling.BICUBIC).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue(), Header(*wanted, "JPEG", "RGB")


def write_json(path: Path, content: object) -> None:
    """Write `path` whole or not at all."""
    write_atomically({path: (json.dumps(content, indent=1) + "\n").encode()})
