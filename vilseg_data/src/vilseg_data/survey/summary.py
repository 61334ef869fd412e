"""What is in a source: how many samples, how large, how they speak."""

import heapq
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from vilseg_data.captions.sample import BrokenSampleError
from vilseg_data.survey.look import Header, digest64, read_header
from vilseg_data.survey.records import Finding, Record, Records
from vilseg_data.tokenizer import Tokenizer

Progress = Callable[[int, int], None]

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
# Above so many different words those met once are forgotten: about 100 MB.
_MOST_WORDS = 1_000_000
_MOST_BROKEN = 1000


class Spread(NamedTuple):
    """The least, the 5th, 50th and 95th percentile, the largest and the mean of some numbers."""

    least: float
    low: float
    median: float
    high: float
    most: float
    mean: float


class Picture(NamedTuple):
    """A sample to be shown: its key, the bytes of its image and its captions."""

    key: str
    data: bytes
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """What `inspect_source` found; spreads are None where nothing was counted.

    captions_per_image, formats, modes: how many images of each. cut: captions with more tokens
    than the tokenizer's context holds. words: how many different words, and the most frequent
    ones with their counts. unusable: samples without image or caption, by kind of fault; broken:
    the first 1,000 of them.
    """

    source: str
    samples: int
    captions: int
    bytes: int
    formats: dict[str, int]
    modes: dict[str, int]
    captions_per_image: dict[int, int]
    width: Spread | None
    height: Spread | None
    aspect: Spread | None
    caption_words: Spread | None
    caption_tokens: Spread | None
    context_length: int | None
    cut: int | None
    different_words: int
    words: dict[str, int]
    unusable: dict[str, int]
    broken: list[Finding]

    def to_json(self) -> dict[str, object]:
        """The summary as plain data; spreads by the names of their parts."""
        plain = asdict(self)
        plain["broken"] = [{"key": f.key, "reason": f.reason} for f in self.broken]
        for key, value in plain.items():
            if isinstance(value, Spread):
                plain[key] = value._asdict()
        return plain


def inspect_source(
    records: Records,
    *,
    tokenizer: Tokenizer | None = None,
    most_words: int = 100,
    pictures: int = 24,
    progress: Progress | None = None,
) -> tuple[Summary, list[Picture]]:
    """Describe a source, and draw some samples of it to show.

    Images are not decoded, only their headers are read. Which samples are drawn depends on their
    keys alone. Memory: 16 bytes a sample and a caption, the words, and the drawn images.

    Args:
        records: the source.
        tokenizer: counts tokens; without it there are no such numbers.
        most_words: how many of the most frequent words are named.
        pictures: how many samples are drawn.
        progress: called with (done, total).

    Raises:
        ValueError: the source has no sample with an image that can be read.
    """
    count = _Count(tokenizer)
    drawn: list[tuple[int, int, Picture]] = []
    for number, item in enumerate(_read(records, count)):
        record, data, header = item
        count.add(record, header, size=len(data))
        if pictures:
            # The least of random numbers is a fair draw, whatever the order and the length.
            chosen = (-digest64(record.key.encode("utf-8", "surrogatepass")), number)
            entry = (*chosen, Picture(record.key, data, record.captions))
            push = heapq.heappush if len(drawn) < pictures else heapq.heappushpop
            push(drawn, entry)
        if progress is not None and number % 64 == 63:
            progress(number + 1, max(number + 1, records.total()))
    if not count.samples:
        faults = ", ".join(f"{n} {kind}" for kind, n in count.unusable.items()) or "nothing at all"
        raise ValueError(
            f"records: expected a sample with image and caption, came {faults} in {records.name}; "
            "check the source"
        )
    if progress is not None:
        progress(count.samples, count.samples)
    shown = [picture for _, _, picture in sorted(drawn, key=lambda entry: entry[1])]
    return count.summary(records.name, most_words=most_words), shown


def _read(records: Records, count: "_Count") -> Iterator[tuple[Record, bytes, Header]]:
    for item in records:
        if isinstance(item, Finding):
            count.leave_out(item)
            continue
        try:
            data = item.read()
        except BrokenSampleError as error:
            count.leave_out(Finding("bad-image", error.key, error.reason))
            continue
        header = read_header(data, key=item.key)
        if isinstance(header, Finding):
            count.leave_out(header)
        else:
            yield item, data, header


class _Count:
    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self.samples = self.bytes = self.cut = 0
        self.unusable: Counter[str] = Counter()
        self._broken: list[Finding] = []
        self._tokenizer = tokenizer
        self._formats: Counter[str] = Counter()
        self._modes: Counter[str] = Counter()
        self._per_image: Counter[int] = Counter()
        self._vocabulary: Counter[str] = Counter()
        self._widths, self._heights = array("I"), array("I")
        self._words, self._tokens = array("I"), array("I")

    def leave_out(self, finding: Finding) -> None:
        self.unusable[finding.kind] += 1
        if len(self._broken) < _MOST_BROKEN:
            self._broken.append(finding)

    def add(self, record: Record, header: Header, *, size: int) -> None:
        self.samples += 1
        self.bytes += size
        self._formats[header.format] += 1
        self._modes[header.mode] += 1
        self._per_image[len(record.captions)] += 1
        self._widths.append(header.width)
        self._heights.append(header.height)
        for text in record.captions:
            self._words.append(len(text.split()))
            self._vocabulary.update(_WORD.findall(text.lower()))
            if self._tokenizer is not None:
                tokens = len(self._tokenizer.encode(text))
                self._tokens.append(tokens)
                self.cut += tokens > self._tokenizer.context_length - 2
        if len(self._vocabulary) > _MOST_WORDS:
            frequent = {word: n for word, n in self._vocabulary.items() if n > 1}
            self._vocabulary = Counter(frequent)

    def summary(self, name: str, *, most_words: int) -> Summary:
        widths, heights = np.array(self._widths), np.array(self._heights)
        tokenizer = self._tokenizer
        return Summary(
            source=name,
            samples=self.samples,
            captions=len(self._words),
            bytes=self.bytes,
            formats=dict(self._formats.most_common()),
            modes=dict(self._modes.most_common()),
            captions_per_image=dict(sorted(self._per_image.items())),
            width=_spread(widths),
            height=_spread(heights),
            aspect=_spread(widths / heights),
            caption_words=_spread(np.array(self._words)),
            caption_tokens=None if tokenizer is None else _spread(np.array(self._tokens)),
            context_length=None if tokenizer is None else tokenizer.context_length,
            cut=None if tokenizer is None else self.cut,
            different_words=len(self._vocabulary),
            words=dict(self._vocabulary.most_common(most_words)),
            unusable=dict(self.unusable.most_common()),
            broken=self._broken,
        )


def _spread(values: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> Spread | None:
    if not values.size:
        return None
    numbers = values.astype(np.float64)
    parts = np.percentile(numbers, [0, 5, 50, 95, 100])
    return Spread(*(round(float(part), 4) for part in (*parts, numbers.mean())))
