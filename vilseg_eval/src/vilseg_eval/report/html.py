"""Pieces of a page: every text escaped, every picture inside."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from io import BytesIO

from PIL import Image

# A policy that lets the page neither run nor fetch anything.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, body: Iterable[str]) -> str:
    """A whole HTML page with its style inside."""
    css = files("vilseg_eval.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def section(name: str, heading: str, *parts: str) -> str:
    """A part of the page that a link can point to; nothing where there is nothing to say."""
    content = "\n".join(part for part in parts if part)
    if not content:
        return ""
    return f'<section id="{name}">\n<h2>{escape(heading)}</h2>\n{content}\n</section>'


def paragraph(text: str, *, style: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{_class(style)}>{escape(text)}</p>" if text else ""


def details(summary: str, *parts: str) -> str:
    """What is folded away until asked for."""
    return f"<details><summary>{escape(summary)}</summary>\n" + "\n".join(parts) + "\n</details>"


def image(picture: Image.Image, *, alt: str, style: str = "", photo: bool = False) -> str:
    """A picture inside the page: a photo as JPEG, drawn things as PNG."""
    file = BytesIO()
    if photo:
        picture.save(file, format="JPEG", quality=85, optimize=True)
    else:
        picture.save(file, format="PNG", optimize=True)
    kind = "jpeg" if photo else "png"
    return (
        f'<img{_class(style)} src="{data_uri(file.getvalue(), kind=kind)}" '
        f'width="{picture.width}" height="{picture.height}" alt="{escape(alt)}">'
    )


def plot(light: bytes, dark: bytes, *, alt: str, width: int) -> str:
    """A plot as PNG, one for light and one for dark pages, shown `width` CSS pixels wide at most;
    on a narrow screen it scrolls inside itself."""
    return (
        f'<div class="wide"><picture class="plot" style="width:{width}px">'
        f'<source media="(prefers-color-scheme: dark)" srcset="{data_uri(dark)}">'
        f'<img src="{data_uri(light)}" alt="{escape(alt)}"></picture></div>'
    )


def data_uri(content: bytes, *, kind: str = "png") -> str:
    """A file as an address that needs no fetching."""
    return f"data:image/{kind};base64," + b64encode(content).decode("ascii")


def _class(style: str) -> str:
    return f' class="{style}"' if style else ""
