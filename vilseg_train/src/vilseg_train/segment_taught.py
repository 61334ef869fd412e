"""Segment photos with a self-trained run: it names tokens, so there are no regions to write."""

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from vilseg_data import BrokenSampleError, decode_image
from vilseg_eval import InferenceConfig
from vilseg_eval.files import write_atomically
from vilseg_eval.report import colours, overlay
from vilseg_eval.report.pictures import shares
from vilseg_train.progress import say
from vilseg_train.run import Run
from vilseg_train.segment_files import file_names
from vilseg_train.selftrained import SelfTrainedSegmenter


def segment_taught(
    run: Run,
    images: Sequence[Path],
    *,
    words: Sequence[str],
    target: Path,
    templates: Sequence[str],
    inference: InferenceConfig,
    console: Console,
) -> list[BrokenSampleError]:
    """Name every token of each image; returns the images that could not be read.

    Writes for each `<name>-overlay.png` with a legend, `<name>-labels.png`, whose pixels are the
    numbers of the words (at most 256), and `<name>.json` with `areas`, the share of each word.
    """
    segmenter = SelfTrainedSegmenter(run, words, templates=templates, inference=inference)
    unreadable = []
    for path, name in zip(images, file_names(images), strict=True):
        try:
            image = decode_image(path)
        except BrokenSampleError as error:
            unreadable.append(error)
            continue
        [answer] = segmenter.segment([image])
        labels = answer.labels(range(len(segmenter.words))).cpu()
        areas = dict(zip(segmenter.words, shares(labels, words=len(segmenter.words)), strict=True))
        ordered = dict(sorted(areas.items(), key=lambda item: -item[1]))
        numbers = Image.fromarray(labels.numpy().astype(np.uint8))
        numbers.putpalette(colours(len(segmenter.words)).tobytes())
        about = {
            "image": str(path),
            "width": image.shape[2],
            "height": image.shape[1],
            "words": list(segmenter.words),
            "templates": list(segmenter.templates),
            "inference": segmenter.settings,
            "areas": ordered,
        }
        contents = {
            f"{name}-overlay.png": _png(overlay(image, labels, segmenter.words)),
            f"{name}-labels.png": _png(numbers),
            f"{name}.json": (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode(),
        }
        write_atomically({target / file: content for file, content in contents.items()})
        shown = ", ".join(f"{word} {share:.0%}" for word, share in ordered.items() if share)
        say(console, f"{path}: {shown} -> {target / name}-overlay.png")
    return unreadable


def _png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
