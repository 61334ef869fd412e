"""`vilseg segment`: from texts of a command line to what they mean."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vilseg_data import BrokenSampleError
from vilseg_eval.prompts import PHOTO_TEMPLATE, combine_of, read_templates
from vilseg_eval.words import WordList, parse_words
from vilseg_train.image_paths import image_paths
from vilseg_train.segmentation import SegmentOptions, segment_images
from vilseg_train.segmenter_choice import inference_of, parse_options


def segment_from_command(
    run: Path,
    images: Sequence[str],
    *,
    words: str | None,
    words_file: Path | None,
    out: Path | None,
    templates: Sequence[str],
    combine: str,
    options: Sequence[str],
    device: str,
    cache: Path | None,
    console: Console,
) -> list[BrokenSampleError]:
    """`segment_images` with what was typed; returns the images that could not be read.

    Raises:
        ValueError: something that was typed cannot be meant.
    """
    return segment_images(
        run,
        image_paths(images, lines=sys.stdin),
        _words(words, words_file),
        out=out,
        options=SegmentOptions(
            templates=read_templates(templates) or (PHOTO_TEMPLATE,),
            combine=combine_of(combine),
            inference=inference_of(parse_options(options)),
            device=device,
            cache=cache,
        ),
        console=console,
    )


def _words(text: str | None, file: Path | None) -> WordList:
    if (text is None) == (file is None):
        came = "neither" if text is None else "both"
        raise ValueError(f"--words, --words-file: expected one of them, came {came}; give one")
    if file is not None:
        try:
            # The final line break makes one line a file of one line, not a list with commas.
            text = file.read_text("utf-8").rstrip("\n") + "\n\n"
        except UnicodeDecodeError as error:
            raise ValueError(f"--words-file: {file} is not UTF-8 text; save it as UTF-8") from error
    assert text is not None
    return parse_words(text)
