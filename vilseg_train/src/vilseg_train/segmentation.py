"""Segment photos with words: overlays, label maps and areas."""

import json
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image
from rich.console import Console
from torch import Tensor

from vilseg_data import BrokenSampleError, decode_image
from vilseg_eval import ViLSegSegmenter
from vilseg_eval.files import write_atomically
from vilseg_eval.prompts import PHOTO_TEMPLATE
from vilseg_eval.report import colours, overlay
from vilseg_eval.report.pictures import shares
from vilseg_train.folder import check_target
from vilseg_train.progress import say
from vilseg_train.run import open_run

# A palette picture has 256 colours; the ids of words are written as such.
_MOST_WORDS = 256


def segment_images(
    folder: Path,
    images: Sequence[Path],
    words: str,
    *,
    out: Path | None = None,
    templates: Sequence[str] = (PHOTO_TEMPLATE,),
    console: Console,
) -> list[BrokenSampleError]:
    """Cut each image into the named things; returns the images that could not be read.

    Writes for each image `<name>-overlay.png` with a legend, `<name>-labels.png` whose pixels are
    the numbers of the words, and `<name>.json` with the share of the image of each word.

    Args:
        folder: a run.
        words: what to look for, separated by commas.
        out: where to write; `segments` in the run by default.

    Raises:
        ValueError: the run or the words cannot be used; nothing is written.
    """
    listed = [word.strip() for word in words.split(",")] if words.strip() else []
    if len(listed) > _MOST_WORDS:
        raise ValueError(f"words: expected at most {_MOST_WORDS}, came {len(listed)}")
    target = out or folder / "segments"
    check_target(target)
    run = open_run(folder)
    for warning in run.warnings:
        say(console, f"warning: {warning}")
    segmenter = ViLSegSegmenter(run.model, run.tokenizer, listed, templates=templates)
    unreadable = []
    for path, name in zip(images, _names(images), strict=True):
        try:
            image = decode_image(path)
        except BrokenSampleError as error:
            unreadable.append(error)
            continue
        [answer] = segmenter.segment([image])
        labels = answer.labels(range(len(segmenter.words))).cpu()
        areas = _write(target / name, path, image=image, labels=labels, words=segmenter.words)
        shown = ", ".join(f"{word} {share:.0%}" for word, share in areas.items() if share)
        say(console, f"{path}: {shown} -> {target / name}-overlay.png")
    return unreadable


def _names(images: Iterable[Path]) -> list[str]:
    """A file name for each image: its own, numbered where two have the same."""
    names: list[str] = []
    for path in images:
        name, number = path.stem, 1
        while name in names:
            number += 1
            name = f"{path.stem}-{number}"
        names.append(name)
    return names


def _write(
    target: Path, source: Path, *, image: Tensor, labels: Tensor, words: Sequence[str]
) -> dict[str, float]:
    areas = dict(zip(words, shares(labels, words=len(words)), strict=True))
    ordered = dict(sorted(areas.items(), key=lambda item: -item[1]))
    numbers = Image.fromarray(labels.byte().numpy())
    numbers.putpalette(colours(len(words)).tobytes())
    about = {
        "image": str(source),
        "width": image.shape[2],
        "height": image.shape[1],
        "words": list(words),
        "areas": ordered,
    }
    contents = {
        "-overlay.png": _png(overlay(image, labels, words)),
        "-labels.png": _png(numbers),
        ".json": (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode(),
    }
    write_atomically({target.with_name(target.name + end): c for end, c in contents.items()})
    return ordered


def _png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
