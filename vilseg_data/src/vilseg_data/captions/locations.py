"""Where shards lie: local paths, `*`, braces, URLs and commands; and how each is opened.

URLs (`https://`, `s3://`, ...), commands (`pipe:aws s3 cp ... -`) and braces go through the
webdataset library, which is imported only for them.
"""

import contextlib
import glob
import importlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vilseg_data.captions.tar import Readable

_REMOTE = re.compile(r"pipe:|[A-Za-z][A-Za-z0-9+.-]+://")
_WILD = re.compile(r"[*?\[]")
# What webdataset reads URLs with says no more than a number.
_CURL = {
    "6": " (curl: no such host)",
    "7": " (curl: no connection)",
    "22": " (curl: refused, or no such file)",
    "28": " (curl: no answer in time)",
}


def _webdataset(module: str, *, reason: str) -> Any:
    try:
        return importlib.import_module(f"webdataset.{module}")
    except ImportError as error:
        raise ValueError(
            f"shards: expected the webdataset library for {reason}, which cannot be imported "
            f"({error}); pip install webdataset, or list local files"
        ) from error


def is_remote(location: str) -> bool:
    """Whether a shard comes from a URL or a command rather than from a local file."""
    return _REMOTE.match(location) is not None


def find_shards(shards: str | Path | Sequence[str | Path]) -> list[str]:
    """Every location that `shards` stands for, in order.

    shards: a path, a folder (its `*.tar`), a pattern with `*`, `?` or `{00000..00009}`, a URL, a
    command `pipe:...`, several of them joined by `::`, or a list of such.

    ValueError if a pattern matches no file, a file is missing or one is named twice.
    """
    patterns = [shards] if isinstance(shards, str | Path) else list(shards)
    found = [place for pattern in patterns for place in _expand(str(pattern))]
    if not found:
        raise ValueError("shards: expected at least one shard, came none; name a tar")
    place, times = Counter(found).most_common(1)[0]
    if times > 1:
        raise ValueError(
            f"shards: expected every shard once, came {place} {times} times; name it once"
        )
    # os.path.isfile answers False for names that no file can have; Path.is_file raises.
    missing = [place for place in found if not is_remote(place) and not os.path.isfile(place)]
    if missing:
        raise ValueError(
            f"shards: expected files, came {len(missing)} of {len(found)} that do not exist, first "
            f"{missing[0]}{_beside(missing[0])}; correct the path or the numbers in braces, and "
            "join several by '::'"
        )
    return found


def repeat_shards(
    shards: str | Path | Sequence[str | Path], *, weights: Sequence[int] | None
) -> list[str]:
    """As `find_shards`, those of entry i of the list `shards` weights[i] times.

    ValueError also unless there is one weight for each entry, a whole number of at least 1.
    """
    found = find_shards(shards)
    if weights is None:
        return found
    entries = [shards] if isinstance(shards, str | Path) else list(shards)
    if len(weights) != len(entries) or any(w < 1 or w != int(w) for w in weights):
        raise ValueError(
            f"weights: expected a whole number of at least 1 for each of {len(entries)} entries of "
            f"shards, came {list(weights)}; name one for each"
        )
    return [
        place
        for entry, weight in zip(entries, weights, strict=True)
        for place in find_shards(entry) * int(weight)
    ]


def _expand(pattern: str) -> list[str]:
    if "{" in pattern or "::" in pattern:
        shardlists = _webdataset("shardlists", reason=f"{pattern!r}")
        try:
            expanded = shardlists.expand_urls(pattern)
        except ValueError as error:
            raise ValueError(
                f"shards: expected a pattern such as {{00000..00009}}.tar, came {pattern}: {error}"
                "; correct the braces"
            ) from error
    else:
        expanded = [pattern]
    return [place for part in expanded for place in ([part] if is_remote(part) else _match(part))]


def _match(part: str) -> list[str]:
    if os.path.isdir(part):
        part = os.path.join(glob.escape(part), "*.tar")
    elif os.path.isfile(part) or not _WILD.search(part):
        return [part]
    places = sorted(glob.glob(part, recursive=True))
    if not places:
        raise ValueError(
            f"shards: expected files that match {part}, came none{_beside(part)}; correct the "
            "pattern"
        )
    return places


def _beside(missing: str) -> str:
    """What lies in the folder instead, or how much of the path there is."""
    folder = Path(missing).parent
    if _WILD.search(str(folder)):
        return ""
    if not os.path.isdir(folder):
        return f" ({folder} is no folder)"
    tars = sorted(path.name for path in folder.glob("*.tar"))
    if not tars:
        return f" ({folder} holds no .tar)"
    if len(tars) == 1:
        return f" ({folder} holds {tars[0]} alone)"
    return f" ({folder} holds {len(tars)} .tar, {tars[0]} to {tars[-1]})"


class _Remote:
    """A stream whose end is believed only once the program behind it reports success."""

    def __init__(self, stream: Readable, *, curl: bool) -> None:
        self._stream = stream
        self._curl = curl
        self._ended = False

    def read(self, size: int, /) -> bytes:
        if self._ended:
            return b""
        try:
            data = self._stream.read(size)
            if not data:
                self._ended = True
                self._stream.close()
        except OSError as error:
            # webdataset's text is the whole command, which may hold a password.
            status = re.search(r"exit (-?\d+)", str(error))
            if status is None:
                raise
            meaning = _CURL.get(status[1], "") if self._curl else ""
            raise OSError(f"its program gave {status[0]}{meaning}") from error
        return data

    def close(self) -> None:
        if not self._ended:
            self._ended = True
            with contextlib.suppress(OSError):  # a program stopped half way may say so
                self._stream.close()


def shard_name(location: str) -> str:
    """The file name in a path, URL or command, or all of it if it names no tar."""
    if not is_remote(location):
        return Path(location).name
    match = re.search(r"[^/\s'\"?&=]+\.tar\b", location)
    return match[0] if match else location


def open_shard(location: str) -> Readable:
    """The bytes of a shard; what cannot be read is an OSError, here or while reading."""
    if not is_remote(location):
        return open(location, "rb")
    opened: Readable = _webdataset("gopen", reason=f"{location!r}").gopen(location, "rb")
    return _Remote(opened, curl=location.startswith(("http://", "https://")))
