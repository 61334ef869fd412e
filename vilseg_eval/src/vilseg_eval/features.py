"""Images of any size through the image encoder: the pass that all model segmenters share.

Legend: b images, d dimensions, (gh, gw) the token grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from vilseg_core.models import ViLSeg
from vilseg_data.resize import resize_squares


@contextmanager
def inference(model: ViLSeg) -> Iterator[None]:
    """Evaluation mode without gradients; the model's mode is what it was afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def squares(images: Sequence[Tensor], *, image_size: int) -> Tensor:
    """(b, 3, s, s) float in [0, 1] on the CPU: each uint8 (3, h, w) image squashed to a square,
    as for training. ValueError for anything else."""
    for number, image in enumerate(images):
        if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8 or 0 in image.shape:
            raise ValueError(
                f"images: expected uint8 (3, h, w), got {image.dtype} {tuple(image.shape)} "
                f"at position {number}"
            )
    return resize_squares([image.cpu() for image in images], size=image_size).float() / 255


def pixel_features(
    model: ViLSeg, images: Sequence[Tensor], *, image_size: int, batch_size: int
) -> Tensor:
    """(b, d, gh, gw) pixel embeddings e_v^pxl, computed `batch_size` images at a time."""
    if not images:
        raise ValueError("images: expected at least one, got none")
    device = next(model.parameters()).device
    parts = [
        model.encode_image(
            squares(images[start : start + batch_size], image_size=image_size).to(device)
        ).pixels.float()
        for start in range(0, len(images), batch_size)
    ]
    return torch.cat(parts)
