"""Captions from zip archives: `<split>-NN.zip` of images beside `<split>.captions.json`.

The JSON maps the name of an image in the zips to its caption or list of captions.
"""

import json
import os
import threading
import zipfile
from pathlib import Path
from typing import NamedTuple

from vilseg_data.captions.sample import Broken, BrokenSampleError, CaptionSample
from vilseg_data.decode import IMAGE_SUFFIXES, decode_image

MAX_BYTES = 1 << 28  # no single photo is larger; a member that claims more is a zip bomb


class _Entry(NamedTuple):
    key: str
    zip: Path
    captions: tuple[str, ...]


def _read_captions(path: Path) -> dict[str, object]:
    if not path.is_file():
        found = sorted(other.name for other in path.parent.glob("*.captions.json"))
        raise ValueError(
            f"root: expected {path.name}, {{image name: [captions]}}, in {path.parent}, came "
            f"{found or 'no *.captions.json'}; add the file or choose another split"
        )
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig", errors="replace"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON, came {error}; write it again") from error
    if not isinstance(table, dict) or not table:
        raise ValueError(
            f"{path}: expected a JSON object {{image name: [captions]}} with at least one image, "
            f"came {type(table).__name__} of length "
            f"{len(table) if hasattr(table, '__len__') else 0}; write it in this form"
        )
    return table


def _list_members(zips: list[Path]) -> dict[str, Path]:
    members: dict[str, Path] = {}
    for path in zips:
        try:
            with zipfile.ZipFile(path) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, OSError) as error:
            raise ValueError(
                f"{path}: expected a readable zip, came: {error}; fetch it again or remove it"
            ) from error
        for name in names:
            # A zip made on macOS holds, beside each photo, a file of its attributes of that name.
            if not name.lower().endswith(IMAGE_SUFFIXES) or name.startswith("__MACOSX/"):
                continue
            if name in members:
                raise ValueError(
                    f"{name} is in both {members[name].name} and {path.name}; image names must "
                    "differ over the zips of a split, rename one"
                )
            members[name] = path
    return members


def clean(captions: object) -> tuple[str, ...]:
    """The non-empty captions in a string or a list of strings; anything else gives none."""
    values = captions if isinstance(captions, list) else [captions]
    return tuple(value.strip() for value in values if isinstance(value, str) and value.strip())


class ArchiveCaptions:
    """The images of `<root>/<split>.zip` or `<split>-*.zip` with the captions of the JSON.

    With `image_size` every image is squashed to a square of that size as it is decoded. Images
    without a caption and captions without an image are listed in `broken`. Reading is safe from
    several threads and after a fork.
    """

    def __init__(
        self, root: str | Path, *, split: str = "train", image_size: int | None = None
    ) -> None:
        folder = Path(root)
        if not folder.is_dir():
            raise ValueError(
                f"root: expected a folder of zips with {split}.captions.json, came {folder}, which "
                "is no folder; give the path of the unpacked data"
            )
        spoken = _read_captions(folder / f"{split}.captions.json")
        zips = sorted({*folder.glob(f"{split}-*.zip"), *folder.glob(f"{split}.zip")})
        if not zips:
            raise ValueError(
                f"root: expected {split}.zip or {split}-*.zip, came none in {folder}; "
                "add the images or choose another split"
            )
        members = _list_members(zips)
        self.name = f"{folder.name}/{split}"
        self.image_size = image_size
        self.broken: list[Broken] = []
        self._entries: list[_Entry] = []
        for key, value in spoken.items():
            captions = clean(value)
            if key not in members:
                self.broken.append(Broken(key, f"in no zip of {split}"))
            elif not captions:
                self.broken.append(Broken(key, f"no caption in {split}.captions.json"))
            else:
                self._entries.append(_Entry(key, members[key], captions))
        self.broken += [
            Broken(key, f"not in {split}.captions.json") for key in members if key not in spoken
        ]
        if not self._entries:
            first = next(iter(members), None)
            raise ValueError(
                f"{folder}: expected at least one image of {split} with a caption, came "
                f"{len(members)} images and {len(spoken)} entries of {split}.captions.json and "
                f"none usable, for instance {self.broken[0].key} ({self.broken[0].reason}); name "
                "every image by its path in the zip"
                + ("" if first is None else f", such as {first}")
            )
        self._handles = threading.local()

    def __len__(self) -> int:
        return len(self._entries)

    def captions(self, index: int) -> tuple[str, ...]:
        """The captions of image `index`."""
        return self._entries[index].captions

    def _archive(self, path: Path) -> zipfile.ZipFile:
        # One handle for each thread and process: a file position is shared by all who hold it.
        owner = os.getpid()
        if getattr(self._handles, "owner", None) != owner:
            self._handles.owner, self._handles.open = owner, {}
        opened: dict[Path, zipfile.ZipFile] = self._handles.open
        if path not in opened:
            opened[path] = zipfile.ZipFile(path)
        return opened[path]

    def __getitem__(self, index: int) -> CaptionSample:
        key, path, captions = self._entries[index]
        # A damaged member shows as BadZipFile, zlib.error, EOFError, RuntimeError (encrypted),
        # NotImplementedError (compression) or OSError; whichever, this sample cannot be read.
        try:
            archive = self._archive(path)
            claimed = archive.getinfo(key).file_size
            if claimed > MAX_BYTES:
                raise BrokenSampleError(key, f"{claimed} bytes, more than {MAX_BYTES}")
            data = archive.read(key)
        except BrokenSampleError:
            raise
        except Exception as error:
            raise BrokenSampleError(key, f"unreadable in {path.name}: {error}") from error
        return CaptionSample(key, decode_image(data, key=key, size=self.image_size), captions)
