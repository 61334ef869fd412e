"""What `vilseg data` found, as tables on a terminal."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from vilseg_data.survey import CheckReport, Finding, Summary
from vilseg_data.survey.summary import Spread

_LISTED = 5
_WORDS = 60
_MEANING = {
    "archive": "zip or tar damaged or cut short",
    "row": "row of the table unusable",
    "missing-image": "caption without image",
    "missing-caption": "image without caption",
    "long-caption": "caption too long",
    "empty-image": "image of 0 bytes",
    "bad-image": "image damaged, or no image",
    "tiny-image": "image too small",
    "huge-image": "image with too many pixels",
    "duplicate-image": "same file as an earlier one",
    "near-duplicate-image": "looks like an earlier image",
    "duplicate-caption": "same caption as an earlier one",
    "leak": "looks like an image of the evaluation set",
}


def summary_tables(summary: Summary) -> Iterator[Table]:
    """Counts, spreads and the most frequent words."""
    counts = Table("", "", show_header=False)
    rows = {
        "source": summary.source,
        "images": f"{summary.samples:,}",
        "captions": f"{summary.captions:,}",
        "captions an image": _shares(summary.captions_per_image),
        "bytes of images": f"{summary.bytes:,}",
        "formats": _shares(summary.formats),
        "modes": _shares(summary.modes),
        "different words": f"{summary.different_words:,}",
    }
    if summary.cut is not None and summary.context_length is not None:
        share = summary.cut / summary.captions
        rows["cut by the context"] = (
            f"{summary.cut:,} ({share:.2%}) have more than {summary.context_length - 2} tokens"
        )
    if summary.unusable:
        rows["unusable"] = f"{_shares(summary.unusable)}; vilseg data check names them"
    for key, value in rows.items():
        counts.add_row(key, Text(value))
    yield counts
    spreads = Table("", "least", "5 %", "median", "95 %", "most", "mean")
    for column in spreads.columns[1:]:
        column.justify = "right"
    for name, spread in (
        ("width, pixels", summary.width),
        ("height, pixels", summary.height),
        ("width / height", summary.aspect),
        ("words a caption", summary.caption_words),
        ("tokens a caption", summary.caption_tokens),
    ):
        if spread is not None:
            spreads.add_row(name, *_numbers(spread))
    yield spreads
    words = Table("most frequent words", show_lines=False)
    shown = list(summary.words.items())[:_WORDS]
    words.add_row(Text(", ".join(f"{word} {count:,}" for word, count in shown)))
    yield words


def check_table(report: CheckReport) -> Table:
    """How many findings of each kind."""
    table = Table("kind", "findings", "")
    table.columns[1].justify = "right"
    for kind, count in report.counts.items():
        table.add_row(kind, f"{count:,}", _MEANING[kind])
    if report.clean:
        table.add_row("nothing at fault", "0", "")
    return table


def check_line(report: CheckReport) -> str:
    """What was checked."""
    line = f"{report.source}: {report.samples:,} sound images, {report.captions:,} captions"
    if report.against is None:
        return line
    return f"{line}; compared with the {report.against_images:,} images of {report.against}"


def finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """The first findings of each kind, a line each."""
    met: Counter[str] = Counter()
    for finding in findings:
        met[finding.kind] += 1
        if met[finding.kind] <= _LISTED:
            line = f"{finding.kind}: {finding.key}: {finding.reason}"
            # A key may hold what would move the cursor, or is no text at all.
            yield line if line.isprintable() else ascii(line)[1:-1]
    if len(findings) > (shown := sum(min(count, _LISTED) for count in met.values())):
        yield f"and {len(findings) - shown:,} more; --json FILE lists them"


def _shares(counts: Mapping[str, int] | Mapping[int, int]) -> str:
    total = sum(counts.values())
    if len(counts) == 1:
        return str(next(iter(counts)))
    return ", ".join(f"{key}: {count:,} ({count / total:.0%})" for key, count in counts.items())


def _numbers(spread: Spread) -> list[str]:
    return [f"{value:,.2f}".rstrip("0").rstrip(".") for value in spread]
