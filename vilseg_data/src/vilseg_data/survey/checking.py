"""What is broken in a source, what it holds twice, and what of an evaluation set it holds."""

from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from os import cpu_count
from pathlib import Path

from vilseg_data.captions.sample import BrokenSampleError
from vilseg_data.labelled.classes import LabelledSet
from vilseg_data.survey.hashing import NEAR, perceptual_hash
from vilseg_data.survey.journal import Journal
from vilseg_data.survey.look import Seen, digest64, look, read_header
from vilseg_data.survey.records import Finding, Kind, Record, Records, image_files
from vilseg_data.survey.twins import Hashed, copies, leaks, repeated_captions

Progress = Callable[[int, int], None]

# The samples of these kinds are left out of training.
BROKEN: tuple[Kind, ...] = (
    "archive",
    "row",
    "missing-image",
    "missing-caption",
    "empty-image",
    "bad-image",
    "tiny-image",
    "huge-image",
)
# CLIP's 77 positions hold start, end and 75 tokens; a word is at least one.
MAX_WORDS = 75
MAX_CHARACTERS = 1000
LEAST_SIDE = 16


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    counts: findings of each kind, all of them. findings: those listed, at most so many of a kind.
    """

    source: str
    samples: int
    captions: int
    counts: dict[Kind, int]
    findings: list[Finding]
    against: str | None = None
    against_images: int = 0

    @property
    def clean(self) -> bool:
        """Nothing was found."""
        return not self.counts

    def to_json(self) -> dict[str, object]:
        """The report as plain data: `samples` counts the sound ones, `broken` lists the others."""
        return {
            "source": self.source,
            "samples": self.samples,
            "captions": self.captions,
            "clean": self.clean,
            "counts": dict(self.counts),
            "broken": [
                {"key": f.key, "reason": f.reason} for f in self.findings if f.kind in BROKEN
            ],
            "findings": [{"kind": f.kind, "key": f.key, "reason": f.reason} for f in self.findings],
            "against": self.against,
            "against_images": self.against_images,
        }


@dataclass
class _Ledger:
    most_listed: int
    ignore: frozenset[str]
    counts: Counter[Kind] = field(default_factory=Counter)
    listed: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        if finding.kind in self.ignore:
            return
        self.counts[finding.kind] += 1
        if self.counts[finding.kind] <= self.most_listed:
            self.listed.append(finding)


def check(
    records: Records,
    *,
    against: Hashed | None = None,
    near: int = NEAR,
    least_side: int = LEAST_SIDE,
    max_words: int = MAX_WORDS,
    max_characters: int = MAX_CHARACTERS,
    ignore: Iterable[str] = (),
    most_listed: int = 1000,
    journal: Journal | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Read every sample as training would, and look for whatever is at fault.

    Memory: about 100 bytes and the key for each sample, 50 for each caption, and a few images.

    Args:
        records: the source.
        against: the images of an evaluation set (`hash_folder`, `hash_labelled`) that must not be
            in it.
        near: images whose hashes differ in at most so many of 64 bits are copies.
        least_side: pixels; an image with a smaller side is a finding.
        max_words, max_characters: a longer caption is a finding.
        ignore: kinds that are not reported.
        most_listed: findings listed of each kind; all are counted.
        journal: what an interrupted check has seen already.
        threads: that decode; by default as many as cores, at most 8.
        progress: called with (done, total).
    """
    ledger = _Ledger(most_listed, frozenset(ignore))
    images = Hashed(records.name)
    spoken, speaker = array("Q"), array("Q")
    for record, seen in _see(records, ledger, least_side, journal, threads):
        for text in record.captions:
            reason = _too_long(text, max_words=max_words, max_characters=max_characters)
            if reason is not None:
                ledger.add(Finding("long-caption", record.key, reason))
        if seen.finding is not None:
            ledger.add(seen.finding)
            continue
        for text in record.captions:
            # Lone surrogates are no UTF-8.
            plain = " ".join(text.lower().split()).encode("utf-8", "surrogatepass")
            spoken.append(digest64(plain))
            speaker.append(len(images))
        images.add(record.key, seen.hash, digest=seen.digest)
        if progress is not None and len(images) % 32 == 0:
            progress(len(images), records.total())
    if progress is not None:
        progress(len(images), len(images))
    doubles = [copies(images, near=near)]
    if against is not None:
        doubles.append(leaks(images, against, near=near))
    doubles.append(repeated_captions(images, spoken=spoken, speaker=speaker))
    for finding in chain.from_iterable(doubles):
        ledger.add(finding)
    return CheckReport(
        source=records.name,
        samples=len(images),
        captions=len(spoken),
        counts=dict(sorted(ledger.counts.items())),
        findings=ledger.listed,
        against=None if against is None else against.name,
        against_images=0 if against is None else len(against),
    )


def _too_long(text: str, *, max_words: int, max_characters: int) -> str | None:
    if len(text) > max_characters:
        return f"{len(text)} characters, more than {max_characters}"
    words = len(text.split())
    return f"{words} words, more than {max_words}" if words > max_words else None


def _see(
    records: Records,
    ledger: _Ledger,
    least_side: int,
    journal: Journal | None,
    threads: int | None,
) -> Iterator[tuple[Record, Seen]]:
    """Each record with what its image came to, in order; decoding runs ahead in threads."""
    workers = min(8, cpu_count() or 1) if threads is None else threads
    waiting: deque[tuple[Record, Seen | Future[Seen]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="check") as pool:
        for item in records:
            if isinstance(item, Finding):
                ledger.add(item)
                continue
            known = journal.recall(item.key) if journal is not None else None
            if known is not None:
                yield item, known
                continue
            waiting.append((item, _start(item, pool, least_side=least_side)))
            if len(waiting) >= 4 * workers:
                yield _finished(waiting.popleft(), journal)
        while waiting:
            yield _finished(waiting.popleft(), journal)


def _start(record: Record, pool: ThreadPoolExecutor, *, least_side: int) -> Seen | Future[Seen]:
    try:
        data = record.read()
    except BrokenSampleError as error:
        return Seen(Finding("bad-image", record.key, error.reason))
    header = read_header(data, key=record.key, least_side=least_side)
    if isinstance(header, Finding):
        return Seen(header)
    return pool.submit(look, data, key=record.key)


def _finished(
    entry: tuple[Record, Seen | Future[Seen]], journal: Journal | None
) -> tuple[Record, Seen]:
    record, result = entry
    seen = result.result() if isinstance(result, Future) else result
    if journal is not None:
        journal.note(record.key, seen)
    return record, seen


def hash_folder(root: str | Path, *, progress: Progress | None = None) -> Hashed:
    """The hashes of every image below a folder; unreadable ones are left out."""
    files = image_files(Path(root))
    hashed = Hashed(str(root))
    for number, path in enumerate(files, start=1):
        key = path.relative_to(root).as_posix()
        data = path.read_bytes()
        if not isinstance(read_header(data, key=key), Finding):
            seen = look(data, key=key)
            if seen.finding is None:
                hashed.add(key, seen.hash, digest=seen.digest)
        if progress is not None:
            progress(number, len(files))
    return hashed


def hash_labelled(labelled: LabelledSet, *, progress: Progress | None = None) -> Hashed:
    """The hashes of the images of a labelled set."""
    hashed = Hashed(labelled.name)
    for index in range(len(labelled)):
        sample = labelled[index]
        hashed.add(sample.key, perceptual_hash(sample.image))
        if progress is not None:
            progress(index + 1, len(labelled))
    return hashed
