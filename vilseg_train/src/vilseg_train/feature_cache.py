"""What a model made of an image or a word, kept in a folder for the next time.

Entries are safetensors files named by a hash of all that decides their content. They are written
to a temporary name and moved into place; one that cannot be read counts as absent.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from vilseg_eval.features import Encoded

FORMAT = "vilseg-features-1"
LIMIT_BYTES = 2**30
_SUFFIX = ".safetensors"


class FeatureCache:
    """Tensors by key in a folder that stays below a size: what was used longest ago goes first.

    A folder that cannot be written to loses nothing but time: `failure` then holds the reason.

    Args:
        folder: made when the first entry is written.
        limit_bytes: of all entries together.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        if limit_bytes < 1:
            raise ValueError(f"limit_bytes: expected at least 1, came {limit_bytes}; raise it")
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.failure: OSError | None = None
        self._total: int | None = None

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors kept under `key`, None where there are none that are whole."""
        path = self._path(key)
        try:
            found: dict[str, Tensor] = load_file(path)
            os.utime(path)
        except (OSError, SafetensorError):
            return None
        return found

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep `tensors` under `key`, in place of what was there."""
        blob = save({name: x.detach().cpu().contiguous() for name, x in tensors.items()})
        if len(blob) > self.limit_bytes:
            return
        try:
            self._make_room(len(blob))
            self._write(self._path(key), blob)
        except OSError as error:
            self.failure = error

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(f"{FORMAT}\n{key}".encode()).hexdigest()
        return self.folder / f"{name}{_SUFFIX}"

    def _write(self, path: Path, blob: bytes) -> None:
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(blob)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise

    def _make_room(self, size: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._total is None or self._total + size > self.limit_bytes:
            entries = [(path.stat(), path) for path in self.folder.glob(f"*{_SUFFIX}")]
            entries.sort(key=lambda entry: entry[0].st_mtime_ns)
            self._total = sum(stat.st_size for stat, _ in entries)
            for stat, path in entries:
                if self._total + size <= self.limit_bytes:
                    break
                path.unlink(missing_ok=True)
                self._total -= stat.st_size
        self._total += size


class CachedWords(MutableMapping[str, Tensor]):
    """A store of a `Vocabulary` in a cache: (d,) embeddings of one model."""

    def __init__(self, cache: FeatureCache, *, weights: str) -> None:
        self.cache = cache
        self.weights = weights
        self._seen: dict[str, Tensor] = {}

    def __getitem__(self, key: str) -> Tensor:
        if key not in self._seen:
            found = self.cache.get(self._key(key))
            if found is None or "word" not in found:
                raise KeyError(key)
            self._seen[key] = found["word"]
        return self._seen[key]

    def __setitem__(self, key: str, value: Tensor) -> None:
        self._seen[key] = value
        # A row of a larger tensor would drag all of it along.
        self.cache.put(self._key(key), {"word": value.clone()})

    def __delitem__(self, key: str) -> None:
        del self._seen[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)

    def _key(self, key: str) -> str:
        return f"word\n{self.weights}\n{key}"


class CachedImages:
    """Encoded images of one model and one way of showing images to it, by the files' bytes.

    Args:
        weights: the hash of the weights.
        way: all else that decides the features, as text.
    """

    def __init__(self, cache: FeatureCache, *, weights: str, way: str) -> None:
        self.cache = cache
        self._prefix = f"image\n{weights}\n{way}\n"

    def get(self, content: bytes, *, device: torch.device) -> Encoded | None:
        """What the model made of the image in the file `content`, on `device`."""
        found = self.cache.get(self._key(content))
        if found is None or "pixels" not in found:
            return None
        logits = found.get("logits")
        return Encoded(found["pixels"].to(device), None if logits is None else logits.to(device))

    def put(self, content: bytes, encoded: Encoded) -> None:
        parts = {"pixels": encoded.pixels, "logits": encoded.logits}
        self.cache.put(self._key(content), {name: x for name, x in parts.items() if x is not None})

    def _key(self, content: bytes) -> str:
        return self._prefix + hashlib.sha256(content).hexdigest()
