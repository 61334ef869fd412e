"""Photos beside their ground truth and what every segmenter says (Fig. 3 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from PIL import Image

from vilseg_eval.report.examples import TRUTH, Example, reduced, reduced_map
from vilseg_eval.report.html import image
from vilseg_eval.report.numbers import percent
from vilseg_eval.report.pictures import SPECK, by_area, colours, photograph, shares, tint
from vilseg_eval.report.vision import Colours

# Pictures are shown 320 px wide at most; small ones are enlarged. A tinted photo as PNG is several
# times its JPEG, which blurs the edges of small ones.
_SMALL_SIDE = 160
_LARGEST_PNG = 256
_MOST_PICTURES = 60


def gallery(examples: Sequence[Example], *, words: Sequence[str]) -> str:
    """A row of pictures for each example, with a legend below; 60 pictures at most."""
    palette = colours(len(words))
    columns = max((len(example.maps) + 1 for example in examples), default=1)
    shown = examples[: max(1, _MOST_PICTURES // columns)]
    return "\n".join(_example(e, words=words, palette=palette) for e in shown)


def _example(example: Example, *, words: Sequence[str], palette: Colours) -> str:
    photo = reduced(example.image)
    scale = max(1, _SMALL_SIDE // max(photo.shape[1:]))
    figures = [_figure(photograph(photo, scale=scale), "photo", key=example.key)]
    areas = [0.0] * len(words)
    for title, labels in example.maps.items():
        smaller = reduced_map(labels)
        picture = tint(photo, smaller, palette=palette, scale=scale)
        score = example.scores.get(title)
        caption = title if score is None else f"{title} · {percent(score)}"
        figures.append(_figure(picture, caption, key=example.key))
        areas = [max(pair) for pair in zip(areas, shares(smaller, words=len(words)), strict=True)]
    named, specks = by_area(areas)
    chips = "".join(
        f'<li><i style="background:rgb({",".join(str(c) for c in palette[i])})"></i>'
        f"{escape(words[i])}</li>"
        for i in named
    )
    if specks:
        chips += f'<li class="soft">+ {len(specks)} more, under {SPECK:.1%} each</li>'
    place = f"<span>{escape(example.place)}</span> " if example.place else ""
    legend = f'<ul class="chips">{chips}</ul>' if chips else ""
    return (
        f'<article class="example"><h3>{place}{escape(example.key)}</h3>\n'
        f'<div class="maps">{"".join(figures)}</div>\n{legend}</article>'
    )


def _figure(picture: Image.Image, caption: str, *, key: str) -> str:
    large = max(picture.size) > _LARGEST_PNG
    what = "Photo" if caption == "photo" else "Ground truth" if caption == TRUTH else caption
    picture_tag = image(picture, alt=f"{what} of {key}", photo=large)
    return f"<figure>{picture_tag}<figcaption>{escape(caption)}</figcaption></figure>"
