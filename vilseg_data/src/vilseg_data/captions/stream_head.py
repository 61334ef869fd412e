"""The first samples of a stream as a source: what a tokenizer learns from and pictures show."""

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path

from vilseg_data.captions.mix import replace_person
from vilseg_data.captions.sample import Broken, BrokenSampleError, CaptionSample
from vilseg_data.captions.shards import no_samples
from vilseg_data.captions.stream import ShardStream
from vilseg_data.decode import decode_image

_IMAGES = 64  # kept as files, some 50 kB each


class StreamHead:
    """The captions of the first `count` samples of shards, and the first 64 images.

    Read when first asked for, in the order of the shards.
    """

    def __init__(
        self,
        shards: str | Path | Sequence[str | Path],
        *,
        count: int,
        image_size: int,
        caption_key: str = "caption",
        person: str | None = None,
    ) -> None:
        self._stream = ShardStream(
            shards, seed=0, shuffle=0, captions="all", caption_key=caption_key
        )
        self.image_size, self.person = image_size, person
        self.name = self._stream.name
        self.broken: list[Broken] = []
        self._count = count

    @cached_property
    def _samples(self) -> list[tuple[str, bytes, tuple[str, ...]]]:
        found: list[tuple[str, bytes, tuple[str, ...]]] = []
        for key, group in groupby(self._stream, key=lambda sample: sample.key):
            entries = list(group)
            captions = tuple(entry.caption for entry in entries)
            if self.person is not None:
                captions = replace_person(captions, by=self.person)
            found.append((key, entries[0].image if len(found) < _IMAGES else b"", captions))
            if len(found) == self._count:
                break
        if not found:
            raise no_samples(self.name, self._stream.broken)
        return found

    def __len__(self) -> int:
        return len(self._samples)

    def captions(self, index: int) -> tuple[str, ...]:
        """The captions of sample `index`."""
        return self._samples[index][2]

    def __getitem__(self, index: int) -> CaptionSample:
        key, data, captions = self._samples[index]
        if not data:
            raise BrokenSampleError(key, f"not among the {_IMAGES} images kept of a stream")
        return CaptionSample(key, decode_image(data, key=key, size=self.image_size), captions)
