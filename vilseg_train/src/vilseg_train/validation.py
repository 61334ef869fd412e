"""Retrieval on held-out captions: whether image and text have met."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vilseg_core.models import ViLSeg
from vilseg_data import BrokenSampleError, CaptionSource, Tokenizer
from vilseg_data.resize import resize_squares
from vilseg_eval import retrieval
from vilseg_eval.features import inference

_BATCH = 64


def load_images(
    source: CaptionSource, count: int
) -> tuple[Tensor, list[tuple[str, ...]], list[BrokenSampleError]]:
    """The first `count` readable images of a source, uint8 (n, 3, h, w), their captions, and the
    errors of those passed over."""
    images: list[Tensor] = []
    captions: list[tuple[str, ...]] = []
    broken: list[BrokenSampleError] = []
    for index in range(len(source)):
        if len(images) == count:
            break
        try:
            sample = source[index]
        except BrokenSampleError as error:
            broken.append(error)
            continue
        images.append(sample.image)
        captions.append(sample.captions)
    if not images:
        raise ValueError(f"{source.name} holds no readable image; check its folder")
    return torch.stack(images), captions, broken


def score_retrieval(
    model: ViLSeg,
    tokenizer: Tokenizer,
    source: CaptionSource,
    *,
    count: int,
    image_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """R@1, 5, 10 both ways over the first `count` images of `source` with all their captions.

    Unreadable images are passed over and listed under "broken".

    Args:
        image_size: side in pixels at which the model sees the images.
        progress: called with (images done, images in all).
    """
    images, captions, broken = load_images(source, count)
    texts = [text for texts in captions for text in texts]
    owners = [index for index, texts in enumerate(captions) for _ in texts]
    device = next(model.parameters()).device
    with inference(model):
        image_parts = []
        for start in range(0, len(images), _BATCH):
            chunk = images[start : start + _BATCH]
            batch = to_model(chunk, image_size=image_size, device=device)
            image_parts.append(model.encode_image(batch).pooled)
            if progress is not None:
                progress(start + len(chunk), len(images))
        text_parts = [
            model.encode_text(tokenizer(texts[start : start + _BATCH]).to(device))
            for start in range(0, len(texts), _BATCH)
        ]
    scores = retrieval(torch.cat(image_parts), torch.cat(text_parts), owners)
    return {
        "source": source.name,
        "images": len(images),
        "captions": len(texts),
        "broken": [{"key": error.key, "reason": error.reason} for error in broken],
        **scores,
    }


def to_model(images: Tensor, *, image_size: int, device: torch.device) -> Tensor:
    """uint8 images as the model takes them: float in [0, 1], `image_size` pixels a side."""
    return resize_squares(images.cpu().unbind(), size=image_size).to(device).float().div_(255)
