"""Samples by number as tensors: decoded when asked for, or all at once and kept."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from vilseg_data.captions.sample import Broken, BrokenSampleError, CaptionSource
from vilseg_data.resize import resize_square

Progress = Callable[[int, int], None]
_CHUNK = 256


@runtime_checkable
class WholeSource(Protocol):
    """A source that makes all its images at once, uint8 (n, 3, image_size, image_size)."""

    @property
    def image_size(self) -> int: ...

    def images(self, progress: Progress | None = None) -> Tensor: ...

    def keys(self) -> list[str]: ...


class Read(NamedTuple):
    """A readable sample; image: uint8 (3, s, s)."""

    key: str
    image: Tensor


Failed = list[tuple[int, Broken]]


class SampleReader:
    """Reads samples of a source, squashed to image_size x image_size, by `threads` threads."""

    def __init__(self, source: CaptionSource, *, image_size: int, threads: int) -> None:
        self.source = source
        self.image_size = image_size
        self._threads = threads
        self._images: Tensor | None = None
        self._keys: list[str] = []
        self._decoders: ThreadPoolExecutor | None = None

    @property
    def keeps_all(self) -> bool:
        """Whether `keep_all` was done."""
        return self._images is not None

    def keep_all(self, progress: Progress | None = None) -> Iterator[Failed]:
        """Decode every image into one tensor; yields what is unreadable as it is found.

        `progress` is called with (done, total). ValueError where the tensor does not fit.
        """
        source, total, size = self.source, len(self.source), self.image_size
        if isinstance(source, WholeSource) and source.image_size == size:
            self._keys, self._images = source.keys(), source.images(progress)
            return
        try:
            images = torch.zeros((total, 3, size, size), dtype=torch.uint8)
        except RuntimeError as error:
            raise ValueError(
                f"cache: expected images that fit into memory, came {total} images of {size} x "
                f"{size}, which take {total * 3 * size * size / 1e9:,.0f} GB; set cache=False or "
                "lower image_size"
            ) from error
        keys = [""] * total
        for start in range(0, total, _CHUNK):
            chunk = range(start, min(start + _CHUNK, total))
            reads, failed = self.read(chunk)
            for place, read in reads.items():
                images[place] = read.image
                keys[place] = read.key
            yield failed
            if progress is not None:
                progress(chunk.stop, total)
        self._keys, self._images = keys, images
        self.close()

    def read(self, indices: Sequence[int]) -> tuple[dict[int, Read], Failed]:
        """The readable samples among `indices`, and what is wrong with the others."""
        images = self._images
        if images is not None:
            return {index: Read(self._keys[index], images[index]) for index in indices}, []
        if self._decoders is None:
            self._decoders = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
        reads: dict[int, Read] = {}
        failed: Failed = []
        for index, result in zip(indices, self._decoders.map(self._read_one, indices), strict=True):
            if isinstance(result, BrokenSampleError):
                failed.append((index, Broken(result.key, result.reason)))
            else:
                reads[index] = result
        return reads, failed

    def _read_one(self, index: int) -> Read | BrokenSampleError:
        try:
            sample = self.source[index]
        except BrokenSampleError as error:
            return error
        return Read(sample.key, resize_square(sample.image, size=self.image_size))

    def close(self) -> None:
        """Stop the threads; they start again when they are needed."""
        if self._decoders is not None:
            self._decoders.shutdown(wait=True, cancel_futures=True)
        self._decoders = None
