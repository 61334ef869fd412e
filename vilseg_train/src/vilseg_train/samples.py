"""A picture of how the model cuts images, to look at while it learns."""

import colorsys
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from vilseg_core.models import ViLSeg
from vilseg_data import CaptionSource
from vilseg_eval.features import inference
from vilseg_eval.files import write_atomically
from vilseg_train.validation import load_images, to_model

Picture = NDArray[np.uint8]

_GAP = 2
_SIDE = 128
_COLOUR_SHARE = 0.6


def sample_picture(model: ViLSeg, source: CaptionSource, *, count: int) -> Picture:
    """The first `count` images of a source over their clusters."""
    images, _, _ = load_images(source, count)
    device = next(model.parameters()).device
    batch = to_model(images, image_size=model.config.image.image_size, device=device)
    return draw_samples(images, cluster_maps(model, batch))


def cluster_maps(model: ViLSeg, images: Tensor) -> Tensor:
    """(n, h, w) int64 clusters of images (n, 3, h, w) in [0, 1]; logits are upsampled first."""
    with inference(model):
        logits = model.cluster(model.encode_image(images).pixels).float()
    size = (images.shape[-2], images.shape[-1])
    return interpolate(logits, size=size, mode="bilinear", align_corners=False).argmax(1)


def draw_samples(images: Tensor, clusters: Tensor) -> Picture:
    """uint8 (height, width, 3): a column for each image, its clusters in colour below it.

    images: uint8 (n, 3, h, w); clusters: (n, h, w). Small images are shown larger.
    """
    palette = _palette(int(clusters.max()) + 1)
    columns = []
    for image, labels in zip(images.cpu(), clusters.cpu(), strict=True):
        photo = image.permute(1, 2, 0).numpy()
        mixed = (1 - _COLOUR_SHARE) * photo + _COLOUR_SHARE * palette[labels.numpy()]
        gap = np.full((_GAP, photo.shape[1], 3), 255, np.uint8)
        columns.append(np.concatenate([photo, gap, mixed.round().astype(np.uint8)]))
    gap = np.full((columns[0].shape[0], _GAP, 3), 255, np.uint8)
    strip = np.concatenate([part for column in columns for part in (column, gap)][:-1], axis=1)
    factor = max(1, _SIDE // images.shape[-1])
    return strip.repeat(factor, axis=0).repeat(factor, axis=1)


def save_picture(picture: Picture, path: Path) -> None:
    """Write a PNG; it appears whole or not at all."""
    file = BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    write_atomically({path: file.getvalue()})


def _palette(count: int) -> NDArray[np.float64]:
    # Hues a golden section apart, so that neighbouring numbers look different.
    colours = [
        colorsys.hsv_to_rgb(0.618034 * i % 1.0, 0.6 + 0.35 * (i % 2), 0.95 - 0.2 * (i % 3))
        for i in range(count)
    ]
    return np.array(colours) * 255
