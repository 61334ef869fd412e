"""Segment photos with words: overlays, label maps, areas, and why each region has its name."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from vilseg_data import BrokenSampleError, decode_image
from vilseg_eval import InferenceConfig, ViLSegSegmenter
from vilseg_eval.features import weights_hash
from vilseg_eval.prompts import PHOTO_TEMPLATE, Combine, Vocabulary
from vilseg_eval.segmenters.regions import Regions
from vilseg_eval.words import WordList
from vilseg_train.device import choose_device
from vilseg_train.feature_cache import CachedImages, CachedWords, FeatureCache
from vilseg_train.folder import check_target
from vilseg_train.progress import say, track
from vilseg_train.run import open_run
from vilseg_train.segment_files import Segmented, file_names, write_segmented
from vilseg_train.segment_taught import segment_taught
from vilseg_train.words import warnings_about

# A palette picture has 256 colours; the ids of words are written as such.
_MOST_WORDS = 256
_AT_ONCE = 8


class SegmentOptions(NamedTuple):
    """How `segment_images` works; where `cache` is None nothing is kept."""

    templates: Sequence[str] = (PHOTO_TEMPLATE,)
    combine: Combine = "mean"
    inference: InferenceConfig = InferenceConfig()
    device: str = "auto"
    cache: Path | None = None


_DEFAULT = SegmentOptions()


def segment_images(
    folder: Path,
    images: Sequence[Path],
    words: WordList,
    *,
    out: Path | None = None,
    options: SegmentOptions = _DEFAULT,
    console: Console,
) -> list[BrokenSampleError]:
    """Cut each image into the named things; returns the images that could not be read.

    Writes for each image what `write_segmented` describes.

    Args:
        folder: a run.
        words: what to look for.
        out: where to write; `segments` in the run by default.

    Raises:
        ValueError: the run, the words or an option cannot be used; nothing is written.
    """
    if len(words.words) > _MOST_WORDS:
        raise ValueError(
            f"words: expected at most {_MOST_WORDS}, came {len(words.words)}; ask in parts"
        )
    target = out or folder / "segments"
    check_target(target)
    device = choose_device(options.device, key="--device")
    run = open_run(folder)
    synonyms = [word for others in words.synonyms.values() for word in others]
    for warning in warnings_about(run, [*words.words, *synonyms]):
        say(console, f"warning: {warning}")
    run.model.to(device)
    if run.classifier is not None:
        return segment_taught(
            run,
            images,
            words=words.words,
            target=target,
            templates=options.templates,
            inference=options.inference,
            console=console,
        )
    cache = None if options.cache is None else FeatureCache(options.cache)
    weights = weights_hash(run.model) if cache is not None else ""
    store = None if cache is None else CachedWords(cache, weights=weights)
    segmenter = ViLSegSegmenter(
        run.model,
        run.tokenizer,
        words.words,
        templates=options.templates,
        synonyms=words.synonyms,
        combine=options.combine,
        inference=options.inference,
        vocabulary=Vocabulary(run.model, run.tokenizer, store=store),
    )
    way = repr((segmenter.framing, segmenter.inference.average))
    kept = None if cache is None else CachedImages(cache, weights=weights, way=way)
    unreadable: list[BrokenSampleError] = []
    named = list(zip(images, file_names(images), strict=True))
    with track("segmenting", console=console) as progress:
        for start in range(0, len(named), _AT_ONCE):
            batch = named[start : start + _AT_ONCE]
            read = [(name, x) for path, name in batch if (x := _read(path, unreadable))]
            opened = _open(segmenter, [x for _, x in read], kept=kept, device=device)
            for (name, photo), regions in zip(read, opened, strict=True):
                done = Segmented(photo.path, photo.image, regions, segmenter)
                areas = write_segmented(target / name, done)
                shown = ", ".join(f"{word} {share:.0%}" for word, share in areas.items() if share)
                say(console, f"{photo.path}: {shown} -> {target / name}-overlay.png")
            progress(start + len(batch), len(named))
    if cache is not None and cache.failure is not None:
        say(console, f"warning: nothing could be kept in {cache.folder}: {cache.failure}")
    return unreadable


class _Photo(NamedTuple):
    path: Path
    content: bytes
    image: Tensor


def _read(path: Path, unreadable: list[BrokenSampleError]) -> _Photo | None:
    try:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BrokenSampleError(str(path), error.strerror or str(error)) from error
        return _Photo(path, content, decode_image(content, key=str(path)))
    except BrokenSampleError as error:
        unreadable.append(error)
        return None


def _open(
    segmenter: ViLSegSegmenter,
    photos: Sequence[_Photo],
    *,
    kept: CachedImages | None,
    device: torch.device,
) -> list[Regions]:
    """The photos cut into regions; the encoder sees those alone that it has not seen before."""
    found = [None if kept is None else kept.get(photo.content, device=device) for photo in photos]
    new = [i for i, encoded in enumerate(found) if encoded is None]
    if new:
        for i, made in zip(new, segmenter.encode([photos[i].image for i in new]), strict=True):
            found[i] = made
            if kept is not None:
                kept.put(photos[i].content, made)
    ready = [encoded for encoded in found if encoded is not None]
    return segmenter.open([photo.image for photo in photos], encoded=ready)
