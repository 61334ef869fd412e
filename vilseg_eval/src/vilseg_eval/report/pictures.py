"""Label maps drawn over photos, with a legend.

Legend: (h, w) one image, k words. Labels are word indices; a negative one is left untinted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vilseg_eval.report.vision import Colours, spread_colours

SPECK = 0.005
"""The share of an image below which a word is not named in a legend."""

_TEXT_PX = 15
_PADDING = 8
_SWATCH = 14
_LONGEST = 40


def colours(count: int) -> Colours:
    """(count, 3) uint8, apart for colour-blind eyes too; word i is always colour i."""
    return spread_colours(count)


def shares(labels: Tensor, *, words: int) -> list[float]:
    """The share of the whole image that each of the `words` words covers."""
    check_labels(labels, words=words)
    counts = torch.bincount(labels[labels >= 0].flatten().long(), minlength=words)
    return [count / max(1, labels.numel()) for count in counts.tolist()]


def tint(
    image: Tensor,
    labels: Tensor,
    *,
    palette: Colours,
    alpha: float = 0.6,
    scale: int = 1,
) -> Image.Image:
    """The image under its label map: (scale h, scale w), regions tinted and outlined.

    Args:
        image: uint8 (3, h, w).
        labels: integers (h, w), below the number of colours.
        palette: uint8 (k, 3), a colour for each word.
        alpha: weight of the colour, 0 to 1.
        scale: whole factor of enlargement.
    """
    if labels.shape != image.shape[1:]:
        raise ValueError(
            f"labels: expected the image's size {tuple(image.shape[1:])}, got {tuple(labels.shape)}"
        )
    check_labels(labels, words=len(palette))
    photo = np.asarray(photograph(image, scale=scale), dtype=np.float64)
    ids = labels.cpu().numpy().repeat(scale, axis=0).repeat(scale, axis=1)
    inside = (ids >= 0)[..., None]
    colour = palette[np.maximum(ids, 0)].astype(np.float64) if len(palette) else photo
    mixed = np.where(inside, (1 - alpha) * photo + alpha * colour, photo)
    mixed[_outline(ids)] = 255
    return Image.fromarray(np.round(mixed).astype(np.uint8))


def photograph(image: Tensor, *, scale: int = 1) -> Image.Image:
    """A uint8 (3, h, w) tensor as a picture, enlarged without smoothing."""
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
        raise ValueError(f"image: expected uint8 (3, h, w), got {image.dtype} {tuple(image.shape)}")
    if scale < 1:
        raise ValueError(f"scale: expected a whole number from 1, got {scale}")
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def overlay(
    image: Tensor,
    labels: Tensor,
    words: Sequence[str],
    *,
    palette: Colours | None = None,
    alpha: float = 0.6,
    scale: int = 1,
) -> Image.Image:
    """`tint` with a legend below: the words present and their shares of the image.

    The largest come first; those under half a per cent are counted in one line. The picture keeps
    its size at the upper left; the canvas is wider only if a legend entry is.
    """
    chosen = colours(len(words)) if palette is None else palette
    picture = tint(image, labels, palette=chosen, alpha=alpha, scale=scale)
    areas = shares(labels, words=len(words))
    shown, specks = by_area(areas)
    entries: list[tuple[str, str, Colours | None]] = [
        (_short(words[i]), f"{areas[i]:.1%}", chosen[i]) for i in shown
    ]
    if specks:
        entries.append((f"+ {len(specks)} more", f"under {SPECK:.1%} each", None))
    legend = _legend(entries, width=picture.width)
    canvas = Image.new("RGB", (legend.width, picture.height + legend.height), "white")
    canvas.paste(picture, (0, 0))
    canvas.paste(legend, (0, picture.height))
    return canvas


def by_area(areas: Sequence[float]) -> tuple[list[int], list[int]]:
    """The words present, largest first: those worth naming, and those that cover a speck."""
    present = sorted((i for i, area in enumerate(areas) if area > 0), key=lambda i: -areas[i])
    return [i for i in present if areas[i] >= SPECK], [i for i in present if areas[i] < SPECK]


def check_labels(labels: Tensor, *, words: int) -> None:
    """ValueError unless `labels` is an integer map of indices below `words`."""
    if labels.ndim != 2 or labels.is_floating_point():
        raise ValueError(
            f"labels: expected integers (h, w), got {labels.dtype} {tuple(labels.shape)}"
        )
    if labels.numel() and int(labels.max()) >= words:
        raise ValueError(
            f"labels: expected indices into {words} words, got {int(labels.max())}; "
            "a pixel without a word is negative"
        )


def _outline(ids: NDArray[np.integer]) -> NDArray[np.bool_]:
    edge = np.zeros(ids.shape, dtype=bool)
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edge[1:, :] |= ids[1:, :] != ids[:-1, :]
    return edge


def _legend(entries: Sequence[tuple[str, str, Colours | None]], *, width: int) -> Image.Image:
    font = _font()
    lead = _SWATCH + 2 * _PADDING
    widest = max((int(font.getlength(f"{word}  {share}")) for word, share, _ in entries), default=0)
    column = lead + widest + _PADDING
    columns = max(1, min(len(entries), width // column))
    row_height = _TEXT_PX + _PADDING
    rows = -(-len(entries) // columns)
    size = (max(width, column if entries else 0), rows * row_height + (_PADDING if rows else 0))
    legend = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(legend)
    for number, (word, share, colour) in enumerate(entries):
        x = (number // rows) * column + _PADDING
        y = (number % rows) * row_height + _PADDING // 2
        box = (x, y + 3, x + _SWATCH, y + 3 + _SWATCH)
        if colour is not None:
            draw.rectangle(box, fill=tuple(int(c) for c in colour), outline="black")
        draw.text((x + lead - _PADDING, y), word, fill="black", font=font)
        shift = font.getlength(f"{word}  ")
        draw.text((x + lead - _PADDING + shift, y), share, fill="dimgrey", font=font)
    return legend


@cache
def _font() -> ImageFont.FreeTypeFont:
    # Pillow's own font has no Greek, Cyrillic or Arabic; matplotlib always brings this one.
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), _TEXT_PX)


def _short(word: str) -> str:
    return word if len(word) <= _LONGEST else word[: _LONGEST - 1] + "…"
