"""Records of zips and tars, damaged ones included: what is sound is given, the rest is named."""

import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from vilseg_data.captions.archive import clean
from vilseg_data.captions.sample import BrokenSampleError
from vilseg_data.survey.records import (
    IMAGE_SUFFIXES,
    MAX_BYTES,
    Finding,
    Record,
    no_caption,
    sidecar_captions,
)

_BLOCK = 512
_MAX_TEXT = 1 << 20  # bytes of a caption file: beyond, it is none


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
        self._zips = _existing(zips, what="zips")
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
    """Samples of webdataset tars: consecutive members of one name up to its first dot.

    Keys are `<tar>/<name>`. Nothing is unpacked to the disk, so hostile names do no harm; links
    and devices are named and passed over. Tars are read from front to back, one member at a time.
    """

    def __init__(self, tars: Sequence[str | Path], *, name: str | None = None) -> None:
        """Take the paths; ValueError if none is given or one does not exist."""
        self._tars = _existing(tars, what="tars")
        self._bytes = [path.stat().st_size for path in self._tars]
        self._passed = self._met = 0
        self.name = self._tars[0].stem if name is None else name

    def total(self) -> int:
        # Only reading would tell: what was met so far, scaled to the bytes that remain.
        return round(self._met * max(1.0, sum(self._bytes) / max(self._passed, 1)))

    def __iter__(self) -> Iterator[Record | Finding]:
        self._met = self._passed = done = 0
        for path, size in zip(self._tars, self._bytes, strict=True):
            for item, offset in _samples(path):
                self._met += isinstance(item, Record)
                self._passed = done + offset
                yield item
            done += size
            self._passed = done


def _existing(paths: Sequence[str | Path], *, what: str) -> list[Path]:
    found = [Path(path) for path in paths]
    if not found:
        raise ValueError(f"{what} must be at least one path, got none; give one")
    for path in found:
        if not path.is_file():
            raise ValueError(f"{what} must be files, got {path}, which is none; check the path")
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


def _samples(path: Path) -> Iterator[tuple[Record | Finding, int]]:
    """What a tar holds, each with the offset it was met at."""
    try:
        with tarfile.open(path, "r:") as tar:
            group: dict[str, tarfile.TarInfo] = {}
            current: str | None = None
            for member in _walk(tar, path):
                if isinstance(member, Finding):
                    yield member, tar.offset
                    continue
                key, suffix = _split(member.name)
                if key != current:
                    if group:
                        yield _sample(tar, path, str(current), group), tar.offset
                    group, current = {}, key
                group[suffix] = member
            if group:
                yield _sample(tar, path, str(current), group), tar.offset
    except (tarfile.TarError, ValueError, OSError, EOFError) as error:
        yield Finding("archive", path.name, f"unreadable tar: {error}"), 0


def _walk(tar: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo | Finding]:
    """The files of a tar, then a finding if it does not end as a tar does."""
    last = "its start"
    while True:
        try:
            member = tar.next()
        except (tarfile.TarError, ValueError, OSError) as error:
            yield Finding("archive", path.name, f"cut short after {last}: {error}")
            return
        # The list of members grows with the tar; nobody asks for one by name here.
        tar.members.clear()  # type: ignore[attr-defined]
        if member is None:
            break
        last = member.name
        if member.isfile():
            yield member
        elif not member.isdir():
            yield Finding("archive", f"{path.name}/{member.name}", "a link or device, not a file")
    with path.open("rb") as file:
        file.seek(tar.offset)
        # tarfile ends without a word where a header is damaged or missing.
        if file.read(_BLOCK) != bytes(_BLOCK):
            yield Finding("archive", path.name, f"damaged or cut at byte {tar.offset} after {last}")


def _split(name: str) -> tuple[str, str]:
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return f"{folder}{slash}{stem}", f"{dot}{suffix}".lower()


def _sample(
    tar: tarfile.TarFile, path: Path, name: str, group: Mapping[str, tarfile.TarInfo]
) -> Record | Finding:
    key = f"{path.name}/{name}"
    image = next((member for suffix, member in group.items() if suffix in IMAGE_SUFFIXES), None)
    if image is None:
        return Finding("missing-image", key, f"only {', '.join(sorted(group))}")
    beside = {}
    for suffix in (".txt", ".json"):
        if suffix in group and group[suffix].size <= _MAX_TEXT:
            try:
                beside[suffix] = _tar_reader(tar, group[suffix], key=key)()
            except BrokenSampleError:
                continue
    captions = sidecar_captions(beside)
    if not captions:
        return no_caption(key, beside)
    return Record(key, captions, _tar_reader(tar, image, key=key))


def _tar_reader(tar: tarfile.TarFile, member: tarfile.TarInfo, *, key: str) -> Callable[[], bytes]:
    def read() -> bytes:
        if member.size > MAX_BYTES:
            raise BrokenSampleError(key, f"{member.size} bytes, more than {MAX_BYTES}")
        try:
            file = tar.extractfile(member)
            assert file is not None
            return file.read()
        except (tarfile.TarError, OSError) as error:
            raise BrokenSampleError(key, f"unreadable member: {error}") from error

    return read
