"""Records of zips and tars, damaged ones included: what is sound is given, the rest is named."""

import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from vilseg_data.captions.archive import MAX_BYTES, clean
from vilseg_data.captions.locations import find_shards, is_remote, open_shard, shard_name
from vilseg_data.captions.sample import Broken, BrokenSampleError
from vilseg_data.captions.shard import ShardDamage, ShardSample, read_shard
from vilseg_data.captions.shards import name_of
from vilseg_data.decode import IMAGE_SUFFIXES
from vilseg_data.survey.records import Finding, Kind, Record, no_caption, sidecar_captions

_MAX_TEXT = 1 << 20  # bytes of a caption file: beyond, it is none
# How the reasons of `captions.shard` begin; any other is about the image.
_KINDS: dict[str, Kind] = {
    "no image": "missing-image",
    "no caption": "missing-caption",
    "empty file": "empty-image",
}


class ZipRecords:
    """Images of zips with the captions of a table, or of the `.txt` or `.json` beside each."""

    def __init__(
        self,
        zips: Sequence[str | Path],
        *,
        captions: Mapping[str, object] | None = None,
        whole: bool = True,
        name: str | None = None,
    ) -> None:
        """List the zips.

        Args:
            zips: their paths.
            captions: `{image name: caption or captions}`; without it they lie in the zips.
            whole: the zips are all that `captions` speaks of, so an image in none is missing.
            name: of the source; by default that of the first zip.

        Raises:
            ValueError: no zip is given, or one does not exist.
        """
        self._zips = _existing(zips)
        self._captions, self._whole = captions, whole
        self.name = self._zips[0].stem if name is None else name
        self._members: list[list[str] | Finding] = [_members(path) for path in self._zips]

    def total(self) -> int:
        return sum(
            name.lower().endswith(IMAGE_SUFFIXES)
            for names in self._members
            if isinstance(names, list)
            for name in names
        )

    def __iter__(self) -> Iterator[Record | Finding]:
        met: set[str] = set()
        for path, names in zip(self._zips, self._members, strict=True):
            if isinstance(names, Finding):
                yield names
                continue
            with zipfile.ZipFile(path) as archive:
                for key in names:
                    if key.lower().endswith(IMAGE_SUFFIXES):
                        met.add(key)
                        yield self._record(archive, key)
        if self._captions is not None and self._whole:
            for key in self._captions:
                if key not in met:
                    yield Finding("missing-image", key, f"in no zip of {self.name}")

    def _record(self, archive: zipfile.ZipFile, key: str) -> Record | Finding:
        if self._captions is None:
            beside = _beside(archive, key)
            captions = sidecar_captions(beside)
            if not captions:
                return no_caption(key, beside)
        else:
            captions = clean(self._captions.get(key))
            if not captions:
                reason = "an empty one" if key in self._captions else "not in the captions"
                return Finding("missing-caption", key, reason)
        return Record(key, captions, lambda: _read_member(archive, key, limit=MAX_BYTES))


class TarRecords:
    """Samples of webdataset tars, as `captions.shard` reads them: the keys are `<tar>/<name>`.

    Nothing is unpacked to the disk, so hostile names do no harm. Local tars are read lazily, those
    behind URLs and commands as they come.
    """

    def __init__(
        self, shards: str | Path | Sequence[str | Path], *, caption_key: str = "caption"
    ) -> None:
        """Find the tars; ValueError, as of `find_shards`, if there are none."""
        self._shards = find_shards(shards)
        self._caption_key = caption_key
        local = [place for place in self._shards if not is_remote(place)]
        self._bytes = sum(os.path.getsize(place) for place in local)
        self._passed = self._met = 0
        self.name = name_of(self._shards)

    def total(self) -> int:
        # Only reading would tell: what was met so far, scaled to the bytes that remain.
        return round(self._met * max(1.0, self._bytes / max(self._passed, 1)))

    def __iter__(self) -> Iterator[Record | Finding]:
        self._met = self._passed = done = 0
        for place in self._shards:
            name, remote = shard_name(place), is_remote(place)
            try:
                with closing(open_shard(place)) as file, ExitStack() as stack:
                    images = None if remote else stack.enter_context(open(place, "rb"))
                    for item in read_shard(
                        file, name=name, caption_key=self._caption_key, images=remote
                    ):
                        if isinstance(item, ShardSample):
                            self._met += 1
                            self._passed = done + item.offset + item.size
                            read = partial(_read_image, item, images)
                            yield Record(item.key, item.captions, read)
                        else:
                            yield _fault(item)
            except OSError as error:
                yield Finding("archive", name, f"not readable: {error}")
            done += 0 if remote else os.path.getsize(place)
            self._passed = done


def _read_image(sample: ShardSample, images: BinaryIO | None) -> bytes:
    if images is None:
        return sample.image
    try:
        images.seek(sample.offset)
        return images.read(sample.size)
    except OSError as error:
        raise BrokenSampleError(sample.key, f"not readable: {error}") from error


def _fault(item: Broken | ShardDamage) -> Finding:
    if isinstance(item, ShardDamage):
        return Finding("archive", item.key, item.reason)
    kinds = (kind for start, kind in _KINDS.items() if item.reason.startswith(start))
    return Finding(next(kinds, "bad-image"), item.key, item.reason)


def _existing(paths: Sequence[str | Path]) -> list[Path]:
    found = [Path(path) for path in paths]
    if not found:
        raise ValueError("zips: expected at least one path, came none; give one")
    for path in found:
        if not path.is_file():
            raise ValueError(f"zips: expected files, came {path}, which is none; check the path")
    return found


def _members(path: Path) -> list[str] | Finding:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        return Finding("archive", path.name, f"unreadable zip: {error}")
    # A zip made on macOS holds, beside each photo, a file of its attributes of that name.
    return [name for name in names if not name.startswith("__MACOSX/")]


def _beside(archive: zipfile.ZipFile, key: str) -> dict[str, bytes]:
    found = {}
    for suffix in (".txt", ".json"):
        name = str(PurePosixPath(key).with_suffix(suffix))
        try:
            found[suffix] = _read_member(archive, name, limit=_MAX_TEXT)
        except BrokenSampleError:
            continue
    return found


def _read_member(archive: zipfile.ZipFile, name: str, *, limit: int) -> bytes:
    # A damaged member shows as BadZipFile, zlib.error, EOFError, RuntimeError (encrypted),
    # NotImplementedError (compression) or OSError; whichever, it cannot be read.
    try:
        claimed = archive.getinfo(name).file_size
        if claimed > limit:
            raise BrokenSampleError(name, f"{claimed} bytes, more than {limit}")
        return archive.read(name)
    except BrokenSampleError:
        raise
    except Exception as error:
        raise BrokenSampleError(name, f"unreadable member: {error}") from error
