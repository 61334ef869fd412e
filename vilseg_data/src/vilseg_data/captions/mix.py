"""Sources made of other sources: mended captions, one position a caption, several mixed."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from vilseg_data.captions.sample import Broken, BrokenSampleError, CaptionSample, CaptionSource


def replace_person(captions: Sequence[str], *, by: str) -> tuple[str, ...]:
    """CC12M's `<PERSON>`, which stands where a name stood, replaced by a word such as "person"."""
    return tuple(text.replace("<PERSON>", by) for text in captions)


class ChangedSource:
    """Another source under its own name, what is broken in it included."""

    def __init__(self, source: CaptionSource) -> None:
        self._source = source

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def broken(self) -> list[Broken]:
        return self._source.broken


class NamedPersons(ChangedSource):
    """`source` with `replace_person` on every caption."""

    def __init__(self, source: CaptionSource, *, by: str) -> None:
        if not by.strip():
            raise ValueError(
                "by: expected a word, came none, and a caption of <PERSON> alone would be empty; "
                "pass 'person'"
            )
        super().__init__(source)
        self._by = by

    def __len__(self) -> int:
        return len(self._source)

    def captions(self, index: int) -> tuple[str, ...]:
        return replace_person(self._source.captions(index), by=self._by)

    def __getitem__(self, index: int) -> CaptionSample:
        sample = self._source[index]
        captions = replace_person(sample.captions, by=self._by)
        return CaptionSample(sample.key, sample.image, captions)


class EveryCaption(ChangedSource):
    """`source` with one position for each caption, so that an epoch shows all of them.

    The captions of an image stay together in position and are told apart by `#0`, `#1`, ... behind
    its key; the image is decoded for each.
    """

    def __init__(self, source: CaptionSource) -> None:
        super().__init__(source)
        self._ends = list(accumulate(len(source.captions(index)) for index in range(len(source))))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _locate(self, index: int) -> tuple[int, int]:
        place = range(len(self))[index]
        owner = bisect_right(self._ends, place)
        return owner, place - (self._ends[owner - 1] if owner else 0)

    def captions(self, index: int) -> tuple[str, ...]:
        owner, number = self._locate(index)
        return (self._source.captions(owner)[number],)

    def __getitem__(self, index: int) -> CaptionSample:
        owner, number = self._locate(index)
        sample = self._source[owner]
        key = f"{sample.key}#{number}"
        return CaptionSample(key, sample.image, (sample.captions[number],))


class MixedCaptions:
    """Several sources as one, each shown `weights[i]` times in an epoch.

    Weights are whole numbers, so that an epoch shows every sample of every source. Keys begin with
    the number of their source.
    """

    def __init__(
        self, sources: Sequence[CaptionSource], *, weights: Sequence[int] | None = None
    ) -> None:
        chosen = [1] * len(sources) if weights is None else list(weights)
        if not sources or len(chosen) != len(sources):
            raise ValueError(
                f"weights: expected one for each of {len(sources)} sources and at least one "
                f"source, came {len(chosen)}; name as many weights as sources"
            )
        if any(weight < 1 or weight != int(weight) for weight in chosen):
            raise ValueError(
                f"weights: expected whole numbers of at least 1, came {chosen}; multiply them, or "
                "leave a source of weight 0 out"
            )
        self._sources = list(sources)
        sizes = [len(s) * int(w) for s, w in zip(sources, chosen, strict=True)]
        self._ends = list(accumulate(sizes))
        self.name = " + ".join(
            source.name if weight == 1 else f"{int(weight)} x {source.name}"
            for source, weight in zip(sources, chosen, strict=True)
        )

    @property
    def broken(self) -> list[Broken]:
        return [
            Broken(f"{number}/{key}", reason)
            for number, source in enumerate(self._sources)
            for key, reason in source.broken
        ]

    def __len__(self) -> int:
        return self._ends[-1]

    def _locate(self, index: int) -> tuple[int, int]:
        place = range(len(self))[index]
        owner = bisect_right(self._ends, place)
        first = self._ends[owner - 1] if owner else 0
        return owner, (place - first) % len(self._sources[owner])

    def captions(self, index: int) -> tuple[str, ...]:
        owner, place = self._locate(index)
        return self._sources[owner].captions(place)

    def __getitem__(self, index: int) -> CaptionSample:
        owner, place = self._locate(index)
        try:
            sample = self._sources[owner][place]
        except BrokenSampleError as error:
            raise BrokenSampleError(f"{owner}/{error.key}", error.reason) from error
        return CaptionSample(f"{owner}/{sample.key}", sample.image, sample.captions)
