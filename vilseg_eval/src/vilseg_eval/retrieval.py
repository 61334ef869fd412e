"""Image-text retrieval: is an image's own caption among the first k, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import torch
from torch import Tensor
from torch.nn.functional import normalize

RANKS = (1, 5, 10)

# Equal vectors give cosines that differ by rounding, about 1e-16 in float64.
_TIE = 1e-12


def retrieval(
    image_embeddings: Tensor,
    text_embeddings: Tensor,
    owners: Tensor | Sequence[int],
    *,
    ranks: Sequence[int] = RANKS,
    block: int = 256,
) -> dict[str, dict[str, float] | dict[str, dict[str, float]]]:
    """R@k both ways and what a random order would give, as fractions.

    image_to_text: the share of images of which any own caption is among the k nearest captions.
    text_to_image: the share of captions whose image is among the k nearest images. Nearest by
    cosine, in float64; an item of another owner that ties with the best own one counts as nearer,
    so embeddings that tell nothing apart score 0.

    Args:
        image_embeddings: (n, d), any norm.
        text_embeddings: (m, d), any norm.
        owners: (m,) the image of each caption, 0 to n - 1; every image has one at least.
        block: rows compared at a time; memory is block times max(n, m).

    Returns:
        `{"image_to_text": {"R@1": ...}, "text_to_image": {...}, "chance": {the same two}}`.
    """
    own = torch.as_tensor(owners, device=image_embeddings.device)
    _check(image_embeddings, text_embeddings, own)
    images = normalize(image_embeddings.double(), dim=-1)
    texts = normalize(text_embeddings.double(), dim=-1)
    n, m = len(images), len(texts)
    all_images = torch.arange(n, device=own.device)
    found = {
        "image_to_text": _nearer(images, texts, ids=all_images, other_ids=own, block=block),
        "text_to_image": _nearer(texts, images, ids=own, other_ids=all_images, block=block),
    }
    captions = torch.bincount(own, minlength=n).tolist()
    return {
        **{
            way: {f"R@{k}": (nearer < k).double().mean().item() for k in ranks}
            for way, nearer in found.items()
        },
        "chance": {
            "image_to_text": {
                f"R@{k}": sum(1 - comb(m - c, k) / comb(m, k) if k < m else 1.0 for c in captions)
                / n
                for k in ranks
            },
            "text_to_image": {f"R@{k}": min(1.0, k / n) for k in ranks},
        },
    }


def _nearer(
    queries: Tensor, others: Tensor, *, ids: Tensor, other_ids: Tensor, block: int
) -> Tensor:
    """For each query, how many of the others' foreign items come before its best own one."""
    counts = []
    for rows, row_ids in zip(torch.split(queries, block), torch.split(ids, block), strict=True):
        cosines = rows @ others.T
        mine = row_ids[:, None] == other_ids
        best = cosines.masked_fill(~mine, -torch.inf).amax(1, keepdim=True)
        counts.append(((cosines >= best - _TIE) & ~mine).sum(1))
    return torch.cat(counts)


def _check(images: Tensor, texts: Tensor, owners: Tensor) -> None:
    if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1]:
        raise ValueError(
            "image_embeddings, text_embeddings: expected (n, d) and (m, d), got "
            f"{tuple(images.shape)} and {tuple(texts.shape)}"
        )
    for name, value in (("image_embeddings", images), ("text_embeddings", texts)):
        if not bool(value.isfinite().all()):
            raise ValueError(f"{name}: expected finite numbers, got nan or infinity")
    if owners.shape != (len(texts),) or owners.is_floating_point():
        raise ValueError(
            f"owners: expected {len(texts)} integers, one for each caption, got {owners.dtype} "
            f"{tuple(owners.shape)}"
        )
    n = len(images)
    if n == 0 or not torch.equal(torch.unique(owners), torch.arange(n, device=owners.device)):
        raise ValueError(
            f"owners: expected every image 0 to {n - 1} to own a caption, and no other number; "
            "leave out images without captions"
        )
