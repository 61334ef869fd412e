"""One tar shard: image, text and JSON members that share a name are a sample (webdataset).

Layouts: img2dataset's and `pixparse/cc12m-wds`: `<key>.jpg`, `<key>.txt` and `<key>.json`, one
after another. The captions are `captions` of the JSON (a list of strings), else the text, else
`caption` of the JSON.
"""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from vilseg_data.captions.archive import MAX_BYTES, clean
from vilseg_data.captions.sample import Broken
from vilseg_data.captions.tar import Member, Readable, TarReader
from vilseg_data.decode import IMAGE_SUFFIXES

_MAX_TEXT = 1 << 22
_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)  # as webdataset: to the first dot
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class ShardSample(NamedTuple):
    """image: its file; empty if it was only located: `size` bytes from `offset` of the shard."""

    key: str
    image: bytes
    offset: int
    size: int
    captions: tuple[str, ...]


class ShardDamage(NamedTuple):
    """What is wrong with a shard as a whole: samples may be missing."""

    key: str
    reason: str


class _Group:
    """The members of one sample, as they come."""

    def __init__(self, key: str, *, caption_key: str) -> None:
        self.key = key
        self.kinds: set[str] = set()
        self.reason = ""
        self._caption_key = caption_key
        self._image: tuple[bytes, int, int] | None = None
        self._listed: tuple[str, ...] = ()
        self._spoken: tuple[str, ...] = ()
        self._single: tuple[str, ...] = ()

    def take(self, kind: str, member: Member, *, tar: TarReader, images: bool) -> None:
        self.kinds.add(kind)
        is_image = f".{kind}" in IMAGE_SUFFIXES
        limit = MAX_BYTES if is_image else _MAX_TEXT
        if not is_image and kind not in ("txt", "json"):
            return
        if member.size > limit:
            self.reason = f".{kind} of {member.size} bytes, more than {limit}"
            return
        data = tar.read(member) if images or not is_image else b""
        if not (len(data) == member.size if data else tar.skip(member)):
            self.reason = f".{kind} is cut short"
        elif is_image:
            self._image = self._image or (data, member.offset, member.size)
        elif kind == "txt":
            self._spoken = clean(_text(data))
        else:
            self._take_json(data)

    def _take_json(self, data: bytes) -> None:
        try:
            fields = json.loads(data.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return
        if isinstance(fields, dict):
            listed = fields.get("captions")
            self._listed = _seen(listed) if isinstance(listed, list) else ()
            self._single = _seen(fields.get(self._caption_key))

    def close(self) -> ShardSample | Broken:
        captions = self._listed or self._spoken or self._single
        if self.reason:
            return Broken(self.key, self.reason)
        if self._image is None:
            return Broken(self.key, f"no image among its members {sorted(self.kinds)}")
        if self._image[2] == 0:
            return Broken(self.key, "empty file")
        if not captions:
            return Broken(self.key, f"no caption in .txt, nor {self._caption_key!r} in .json")
        return ShardSample(self.key, *self._image, captions)


def _text(data: bytes) -> str:
    return _UNSEEN.sub("", data.decode("utf-8-sig", "replace"))


def _seen(values: object) -> tuple[str, ...]:
    """As `clean`, without control characters and halves of surrogate pairs, which JSON may hold."""
    texts = values if isinstance(values, list) else [values]
    whole = [text.encode("utf-8", "replace") for text in texts if isinstance(text, str)]
    return clean([_text(text) for text in whole])


def read_shard(
    file: Readable, *, name: str, caption_key: str = "caption", images: bool = True, start: int = 0
) -> Iterator[ShardSample | Broken | ShardDamage]:
    """The samples of a shard in order, whole or broken, from number `start` on, then its damage.

    Keys are `name/<key in the tar>`. images=False locates the images instead of reading them.
    Members that belong to no sample (folders, links, names without an ending) are passed over.
    """
    tar = TarReader(file)
    group: _Group | None = None
    number = -1
    for member in tar.members():
        match = _NAME.fullmatch(member.name)
        if match is None:
            continue
        key, kind = f"{name}/{match[1]}", match[2].lower()
        if group is None or group.key != key or kind in group.kinds:
            if group is not None and number >= start:
                yield group.close()
            group = _Group(key, caption_key=caption_key)
            number += 1
        if number >= start:
            group.take(kind, member, tar=tar, images=images)
        else:
            group.kinds.add(kind)
    if group is not None and number >= start:
        yield group.close()
    for reason in tar.damage:
        yield ShardDamage(name, reason)
