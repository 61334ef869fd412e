"""Images of any size through the image encoder: the pass that all model segmenters share.

Legend: b images, d dimensions, c clusters, (gh, gw) the token grid of one image.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from vilseg_core.models import ViLSeg
from vilseg_eval.framing import Framing, Window, check_images


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


class Encoded(NamedTuple):
    """One image after the encoder.

    Attributes:
        pixels: (d, gh, gw) pixel embeddings e_v^pxl, float32.
        logits: (c, gh, gw) cluster logits averaged over windows, where they were asked for.
    """

    pixels: Tensor
    logits: Tensor | None


def encode_images(
    model: ViLSeg,
    images: Sequence[Tensor],
    *,
    framing: Framing,
    batch_size: int,
    logits: bool = False,
) -> list[Encoded]:
    """Each uint8 (3, h, w) image through the encoder, in order; sizes may differ.

    Parts of one size go together, at most `batch_size` at a time. Where windows overlap, a token
    is the mean over them.

    Args:
        logits: also average the cluster logits of each window.

    Raises:
        ValueError: no image, or one that is not uint8 (3, h, w).
    """
    check_images(images)
    device = next(model.parameters()).device
    frames = [framing.frame(image) for image in images]
    by_size: dict[tuple[int, int], list[tuple[int, Window]]] = defaultdict(list)
    means = []
    for number, frame in enumerate(frames):
        windows = framing.windows(frame.shape[1], frame.shape[2])
        means.append(_Mean(frame, parts=len(windows), unit=framing.patch_size))
        for window in windows:
            by_size[window.height, window.width].append((number, window))
    for parts in by_size.values():
        for start in range(0, len(parts), batch_size):
            batch = parts[start : start + batch_size]
            cut = torch.stack([window.cut(frames[number]) for number, window in batch])
            pixels = model.encode_image(cut.to(device).float() / 255).pixels
            clusters = model.cluster(pixels).float() if logits else None
            for row, (number, window) in enumerate(batch):
                means[number].add(
                    Encoded(pixels[row].float(), None if clusters is None else clusters[row]),
                    window,
                )
    return [mean.value() for mean in means]


class _Mean:
    """The tokens of one image, averaged over the windows that hold them."""

    def __init__(self, frame: Tensor, *, parts: int, unit: int) -> None:
        self.parts, self.unit = parts, unit
        self.grid = (frame.shape[1] // unit, frame.shape[2] // unit)
        self.total: Encoded | None = None
        self.counts = torch.zeros(self.grid)

    def add(self, part: Encoded, window: Window) -> None:
        if self.parts == 1:
            self.total = part
            return
        if self.total is None:
            self.total = Encoded(
                self._zeros(part.pixels), None if part.logits is None else self._zeros(part.logits)
            )
        for total, x in zip(self.total, part, strict=True):
            if total is not None and x is not None:
                window.cut(total, unit=self.unit).add_(x)
        window.cut(self.counts, unit=self.unit).add_(1)

    def value(self) -> Encoded:
        assert self.total is not None
        if self.parts == 1:
            return self.total
        pixels, logits = self.total
        counts = self.counts.to(pixels.device)
        return Encoded(pixels / counts, None if logits is None else logits / counts)

    def _zeros(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[0], *self.grid)


def weights_hash(model: torch.nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of the state dict, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
