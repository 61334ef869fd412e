"""Captions from local tar shards, every sample addressed by its position.

For an order over all samples and exact positions at no cost, on sets of up to some million
samples: the headers of every shard are read once and the captions are held in memory. Larger sets
and remote shards are for `captions.stream`.
"""

from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

from vilseg_data.captions.locations import find_shards, is_remote, shard_name
from vilseg_data.captions.sample import Broken, BrokenSampleError, CaptionSample
from vilseg_data.captions.shard import ShardSample, read_shard
from vilseg_data.decode import decode_image


class ShardCaptions:
    """The samples of tar shards in img2dataset's layout, as `captions.shard` reads it.

    shards: a local path, folder or pattern such as `DIR/{00000..00009}.tar`, or several.
    caption_key: the field of the JSON that holds the caption of a sample without a text. With
    `image_size` every image is squashed to a square of that size as it is decoded. Samples that
    cannot be used, and shards that are damaged, are listed in `broken`. progress: called with
    (shards listed, shards).
    """

    def __init__(
        self,
        shards: str | Path | Sequence[str | Path],
        *,
        caption_key: str = "caption",
        image_size: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._shards = find_shards(shards)
        remote = [place for place in self._shards if is_remote(place)]
        if remote:
            raise ValueError(
                f"shards: expected local files, which can be listed, came {remote[0]}; stream "
                "them (stream=True in the configuration) or fetch them first"
            )
        self.name = name_of(self._shards)
        self.image_size = image_size
        self.broken: list[Broken] = []
        self._keys: list[str] = []
        self._captions: list[tuple[str, ...]] = []
        self._places = array("q")  # of every sample: shard, offset, size
        for number, path in enumerate(self._shards):
            self._list(number, path, caption_key=caption_key)
            if progress is not None:
                progress(number + 1, len(self._shards))
        if not self._keys:
            raise no_samples(self.name, self.broken)

    def _list(self, number: int, path: str, *, caption_key: str) -> None:
        name = Path(path).name
        try:
            with open(path, "rb") as file:
                for item in read_shard(file, name=name, caption_key=caption_key, images=False):
                    if isinstance(item, ShardSample):
                        self._keys.append(item.key)
                        self._captions.append(item.captions)
                        self._places.extend((number, item.offset, item.size))
                    else:
                        self.broken.append(Broken(*item))
        except OSError as error:
            self.broken.append(Broken(name, f"not readable: {error}"))

    def __len__(self) -> int:
        return len(self._keys)

    def captions(self, index: int) -> tuple[str, ...]:
        """The captions of sample `index`."""
        return self._captions[index]

    def __getitem__(self, index: int) -> CaptionSample:
        key, captions = self._keys[index], self._captions[index]
        first = 3 * (index % len(self))
        number, offset, size = self._places[first : first + 3]
        try:
            with open(self._shards[number], "rb") as file:
                file.seek(offset)
                data = file.read(size)
        except OSError as error:
            raise BrokenSampleError(key, f"not readable: {error}") from error
        if len(data) < size:
            raise BrokenSampleError(key, "its shard has become shorter since it was listed")
        return CaptionSample(key, decode_image(data, key=key, size=self.image_size), captions)


def no_samples(name: str, broken: Sequence[Broken]) -> ValueError:
    """What to raise for shards that hold nothing to train on."""
    first = f", first {broken[0].key}: {broken[0].reason}" if broken else ""
    return ValueError(
        f"shards: expected at least one image with a caption in {name}, came none{first}; a "
        "sample is <key>.jpg with <key>.txt or <key>.json"
    )


def name_of(shards: Sequence[str]) -> str:
    """The first shard, and how many follow."""
    more = f" and {len(shards) - 1} more" if len(shards) > 1 else ""
    return f"{shard_name(shards[0])}{more}"
