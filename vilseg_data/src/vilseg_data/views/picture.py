"""A sheet of what a multi-crop and an augmentation do to some images, to look at settings."""

import math
from collections.abc import Iterable

from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Generator, Tensor

from vilseg_data.views.invertible import InvertibleAugmentation
from vilseg_data.views.multicrop import MultiCrop
from vilseg_data.views.places import overlap
from vilseg_data.views.result import Views

_TITLES = ("boxes", "global view", "local views", "changed copy", "brought back", "valid")
_COLOURS = ("#ff3b30", "#ffcc00", "#00c7ff", "#ff2dd0", "#34e36b", "#ff9500", "#8f7bff", "#c8ff00")
_GLOBAL = "#ffffff"
_GAP, _TITLE, _DOTS = 8, 24, 3


def contact_sheet(
    images: Tensor,
    *,
    multicrop: MultiCrop,
    augmentation: InvertibleAugmentation,
    generator: Generator | None = None,
    tile: int = 176,
) -> Image.Image:
    """Draw one row an image: its boxes, its views, its changed copy and what comes back of it.

    The dots on the global view are where the centres of 3 x 3 patches of the local views lie on
    it. `invert` undoes geometry alone, so what is brought back keeps the colours of the changed
    copy, and it is black where nothing came back.

    Args:
        images: (n, 3, h, w) floating point in [0, 1].
        multicrop: makes the views.
        augmentation: makes the changed copies.
        generator: decides both; None is torch's global generator.
        tile: height of a picture in pixels.

    Raises:
        ValueError: what `multicrop` and `augmentation` refuse.
    """
    views = multicrop(images, generator=generator)
    n, _, h, w = images.shape
    params = augmentation.sample(n, generator=generator, device=images.device, aspect=w / h)
    changed = augmentation.apply(images, params)
    restored, valid = augmentation.invert(changed, params)
    wide = max(1, round(tile * w / h))
    widths = (wide, tile, tile, wide, wide, wide)
    size = (_GAP + sum(width + _GAP for width in widths), _TITLE + n * (tile + _GAP))
    sheet = Image.new("RGB", size, "white")
    lefts = [_GAP + sum(widths[:i]) + i * _GAP for i in range(len(widths))]
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for left, width, title in zip(lefts, widths, _TITLES, strict=True):
        pen.text((left + width / 2, _TITLE / 2), title, fill="black", font=font, anchor="mm")
    for row in range(n):
        pictures = (
            _boxes(images[row], views, row, size=(wide, tile)),
            _global(views, row, size=tile),
            _locals(views, row, size=tile),
            *(_picture(part[row], size=(wide, tile)) for part in (changed, restored)),
            _picture(valid[row].float().expand(3, -1, -1), size=(wide, tile)),
        )
        for left, picture in zip(lefts, pictures, strict=True):
            top = _TITLE + row * (tile + _GAP)
            sheet.paste(picture, (left, top))
            frame = (left - 1, top - 1, left + picture.width, top + picture.height)
            pen.rectangle(frame, outline="#b0b0b0")
    return sheet


def _picture(values: Tensor, *, size: tuple[int, int]) -> Image.Image:
    pixels = (values.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def _named_colours(views: Views) -> Iterable[tuple[int, str]]:
    return ((view, _COLOURS[view % len(_COLOURS)]) for view in range(len(views.local_views)))


def _boxes(image: Tensor, views: Views, row: int, *, size: tuple[int, int]) -> Image.Image:
    picture = _picture(image, size=size)
    pen, zoom = ImageDraw.Draw(picture), size[1] / image.shape[-2]
    frames = [(views.global_boxes[row], _GLOBAL)]
    frames += [(views.local_boxes[view, row], colour) for view, colour in _named_colours(views)]
    for box, colour in frames:
        x0, y0, x1, y1 = (box * zoom).tolist()
        corners = (x0, y0, min(x1, size[0]) - 1, min(y1, size[1]) - 1)
        pen.rectangle(corners, outline="black", width=4)
        pen.rectangle(
            [c + d for c, d in zip(corners, (1, 1, -1, -1), strict=True)], None, colour, 2
        )
    return picture


def _global(views: Views, row: int, *, size: int) -> Image.Image:
    picture = _picture(views.global_view[row], size=(size, size))
    pen = ImageDraw.Draw(picture)
    found = overlap(views.local_places, views.global_place, size=(_DOTS, _DOTS))
    positions = found.positions((size, size))
    for view, colour in _named_colours(views):
        for x, y in positions[view, row][found.valid[view, row]].tolist():
            pen.circle((x, y), 3.5, fill=colour, outline="black")
    return picture


def _locals(views: Views, row: int, *, size: int) -> Image.Image:
    sheet = Image.new("RGB", (size, size), "white")
    per_side = math.ceil(math.sqrt(max(1, len(views.local_views))))
    step = size // per_side
    for view, colour in _named_colours(views):
        framed = Image.new("RGB", (step - 2, step - 2), ImageColor.getrgb(colour))
        inner = step - 8
        framed.paste(_picture(views.local_views[view, row], size=(inner, inner)), (3, 3))
        sheet.paste(framed, (view % per_side * step + 1, view // per_side * step + 1))
    return sheet
