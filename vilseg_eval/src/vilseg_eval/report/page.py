"""One HTML file with everything inside: tables, bars, overlays. No script, nothing to fetch."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from vilseg_eval.files import write_atomically
from vilseg_eval.report.bars import class_bars, png
from vilseg_eval.report.examples import Example
from vilseg_eval.report.pictures import SPECK, Colours, by_area, colours, photograph, shares, tint
from vilseg_eval.report.tables import CHANCE, UNDEFINED, Results, Row, class_rows, summary_rows

# Pictures are shown 320 px wide at most; small ones are enlarged, large ones reduced.
_SMALL_SIDE = 160
_LARGE_SIDE = 480

_READING = """
<p><b>Unseen mIoU</b> lets every class be predicted and averages over the unseen ones: the
generalised setting. <b>All mIoU</b> averages over every class. <b>Restricted</b> lets only unseen
classes be predicted and looks only at their pixels. <b>Recall</b> and <b>pixel accuracy</b> are
shares of labelled pixels; <b>class accuracy</b> is the mean of the classes' recalls. <b>Chance</b>
is a random labelling with the same class shares. All in per cent, over the whole set, background
and unlabelled pixels left out; a dash is undefined or cannot be answered.</p>
"""


def html_page(
    results: Results,
    *,
    title: str,
    examples: Sequence[Example] = (),
    words: Sequence[str] | None = None,
    introduction: str = "",
) -> str:
    """The report as one self-contained HTML text.

    Args:
        results: what `results.json` holds, by the label of its row; all of one set and split.
        title: heading of the page.
        examples: pictures to show, see `collect_examples`.
        words: what the label maps of the examples index; the names in the first result if None.
        introduction: a paragraph of plain text under the heading.
    """
    heading, rows = summary_rows(results)
    first = next(iter(results.values()))
    named = list(first["names"]) if words is None else list(words)
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(_subject(first))}</p>',
        f"<p>{escape(introduction)}</p>" if introduction else "",
        "<h2>Scores</h2>",
        _table(heading, rows, mark_best=True),
        _READING,
        "<h2>Every class</h2>",
        _bars(results),
        "<details><summary>The numbers</summary>",
        _table(*class_rows(results)),
        "</details>",
        _examples(examples, words=named) if examples else "",
        "<h2>How this was made</h2>",
        *(_facts(label, result) for label, result in results.items()),
    ]
    css = files("vilseg_eval.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body>\n</html>\n"
    )


def write_page(path: Path | str, page: str) -> Path:
    """Write the page; it appears whole or not at all."""
    target = Path(path)
    write_atomically({target: page.encode()})
    return target


def _table(heading: Row, rows: Sequence[Row], *, mark_best: bool = False) -> str:
    best = _best(rows) if mark_best else {}
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in heading)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(
            f'<td class="best">{escape(cell)}</td>'
            if best.get(column) == cell
            else f"<td>{escape(cell)}</td>"
            for column, cell in enumerate(row[1:], start=1)
        )
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>"
    )


def _best(rows: Sequence[Row]) -> dict[int, str]:
    """By column, the highest cell of at least two measured rows."""
    measured = [row for row in rows if row[0] != CHANCE]
    columns = range(1, len(rows[0])) if len(measured) > 1 else range(0)
    cells = {c: [row[c] for row in measured if row[c] != UNDEFINED] for c in columns}
    return {c: max(values, key=float) for c, values in cells.items() if values}


def _bars(results: Results) -> str:
    light, dark = (_uri(png(class_bars(results, dark=dark))) for dark in (False, True))
    return (
        '<picture class="bars">'
        f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="Bars of the IoU of every class; the numbers are below"></picture>'
    )


def _examples(examples: Sequence[Example], *, words: Sequence[str]) -> str:
    palette = colours(len(words))
    return "<h2>Examples</h2>\n" + "\n".join(
        _example(example, words=words, palette=palette) for example in examples
    )


def _example(example: Example, *, words: Sequence[str], palette: Colours) -> str:
    scale = max(1, _SMALL_SIDE // max(example.image.shape[1:]))
    figures = [_figure(photograph(example.image, scale=scale), "photo", style="photo")]
    areas = [0.0] * len(words)
    for title, labels in example.maps.items():
        figures.append(_figure(tint(example.image, labels, palette=palette, scale=scale), title))
        areas = [max(pair) for pair in zip(areas, shares(labels, words=len(words)), strict=True)]
    shown, specks = by_area(areas)
    chips = "".join(
        f'<li><i style="background:rgb({",".join(str(c) for c in palette[i])})"></i>'
        f"{escape(words[i])}</li>"
        for i in shown
    )
    if specks:
        chips += f'<li class="soft">+ {len(specks)} more, under {SPECK:.1%} each</li>'
    return (
        f'<h3>{escape(example.key)}</h3>\n<div class="maps">{"".join(figures)}</div>\n'
        f'<ul class="chips">{chips}</ul>'
    )


def _figure(picture: Image.Image, caption: str, *, style: str = "map") -> str:
    if max(picture.size) > _LARGE_SIDE:
        picture.thumbnail((_LARGE_SIDE, _LARGE_SIDE))
    file = BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return (
        f'<figure><img class="{style}" src="{_uri(file.getvalue())}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _facts(label: str, result: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {v}" for name, v in result.get("versions", {}).items())
    facts = {
        "segmenter": result["segmenter"],
        "words": ", ".join(result["names"]),
        "templates": " / ".join(result["templates"]) or "none",
        "background": result["background"],
        "versions": versions or "not recorded",
    }
    items = "".join(f"<dt>{k}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    return f"<h3>{escape(label)}</h3>\n<dl>{items}</dl>"


def _subject(result: Mapping[str, Any]) -> str:
    parts = [str(result["data"]), *([str(result["split"])] if result.get("split") else [])]
    return f"{' · '.join(parts)} · {result['images']:,} images · {len(result['names'])} words"


def _uri(content: bytes) -> str:
    return "data:image/png;base64," + b64encode(content).decode("ascii")
