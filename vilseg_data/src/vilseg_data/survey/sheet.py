"""A sheet of sample pictures, each above its caption."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from vilseg_data.captions.sample import BrokenSampleError
from vilseg_data.decode import decode_image
from vilseg_data.survey.summary import Picture

_SIDE = 200  # pixels of a tile
_GAP = 14
_LINES = 3
_TEXT = 13  # pixels of a line of text
_LINE = 17
_PAPER, _INK, _FAINT, _BOX = (255, 255, 255), (40, 40, 40), (130, 130, 130), (243, 243, 243)


def contact_sheet(pictures: Sequence[Picture], *, columns: int = 6) -> bytes:
    """A PNG of the pictures, whole and upright, with the first caption and the key of each.

    Raises:
        ValueError: there is no picture, or `columns` is below 1.
    """
    if not pictures:
        raise ValueError("pictures: expected at least one, came none; draw some from the source")
    if columns < 1:
        raise ValueError(f"columns: expected at least 1, came {columns}; 6 fits a screen")
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    step = _SIDE + _GAP
    height = _SIDE + 6 + (_LINES + 1) * _LINE + _GAP
    sheet = Image.new("RGB", (columns * step + _GAP, rows * height + _GAP), _PAPER)
    for index, picture in enumerate(pictures):
        place = (_GAP + (index % columns) * step, _GAP + (index // columns) * height)
        _draw(sheet, picture, place=place)
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def _draw(sheet: Image.Image, picture: Picture, *, place: tuple[int, int]) -> None:
    left, top = place
    pen = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(_TEXT), ImageFont.load_default(_TEXT - 2)
    pen.rectangle((left, top, left + _SIDE - 1, top + _SIDE - 1), fill=_BOX)
    try:
        thumbnail = _thumbnail(picture.data)
        sheet.paste(
            thumbnail,
            (left + (_SIDE - thumbnail.width) // 2, top + (_SIDE - thumbnail.height) // 2),
        )
    except BrokenSampleError as error:
        for number, line in enumerate(_wrap(f"unreadable: {error.reason}", font)):
            pen.text((left + 8, top + 8 + number * _LINE), line, fill=_FAINT, font=font)
    text = picture.captions[0]
    more = f"  +{len(picture.captions) - 1}" if len(picture.captions) > 1 else ""
    lines = _wrap(text, font)
    for number, line in enumerate(lines):
        pen.text((left, top + _SIDE + 6 + number * _LINE), line, fill=_INK, font=font)
    below = top + _SIDE + 6 + len(lines) * _LINE
    [name] = _wrap(picture.key, small, lines=1, width=_SIDE - small.getlength(more))
    pen.text((left, below), name + more, fill=_FAINT, font=small)


def _thumbnail(data: bytes) -> Image.Image:
    image = Image.fromarray(decode_image(data).permute(1, 2, 0).contiguous().numpy())
    scale = _SIDE / max(image.size)
    if scale >= 2:
        scale = int(scale)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # Enlarged pixels stay square, all of one size: smoothed, a small image would look better than
    # it is.
    way = Image.Resampling.LANCZOS if scale < 2 else Image.Resampling.NEAREST
    return image.resize(size, way)


def _wrap(
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    *,
    lines: int = _LINES,
    width: float = _SIDE,
) -> list[str]:
    """At most `lines` lines of `width` pixels; what does not fit ends in three dots."""
    # No line holds more; a caption of 100,000 characters is not measured to its end.
    words = "".join(c if c.isprintable() else " " for c in text[:500]).split()
    found: list[str] = []
    while words and len(found) < lines:
        count = 1
        while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        found.append(" ".join(words[:count]))
        words = words[count:]
    for number, line in enumerate(found):
        cut = words and number == len(found) - 1
        while cut or font.getlength(line) > width:
            shorter = line.removesuffix("...")[:-1].rstrip()
            line, cut = f"{shorter}...", False
        found[number] = line
    return found or [""]
