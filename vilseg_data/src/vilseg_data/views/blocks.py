"""Work on a few images at a time, as many as stay in a core's cache."""

from collections.abc import Callable, Iterator
from itertools import chain

import torch
from torch import Tensor

_BYTES = 2**20


def in_blocks(change: Callable[..., Tensor], images: Tensor, *numbers: Tensor) -> Tensor:
    """`change(images, *numbers)`, on a CPU some images at a time; it must treat each by itself.

    A chain of operations on a whole batch reads and writes memory at each of them; on a block it
    stays in the cache.
    """
    return all_in_blocks(lambda *block: (change(*block),), images, *numbers)[0]


def all_in_blocks(
    change: Callable[..., tuple[Tensor, ...]], images: Tensor, *numbers: Tensor
) -> tuple[Tensor, ...]:
    """As `in_blocks`, where `change` gives several tensors."""
    n, every = len(images), (images, *numbers)
    if images.device.type != "cpu" or images.nbytes <= _BYTES:
        return change(*every)
    size = max(1, n * _BYTES // images.nbytes)
    split = zip(*(torch.split(values, size) for values in every), strict=True)
    return joined((change(*block) for block in split), n=n)


def joined(blocks: Iterator[tuple[Tensor, ...]], *, n: int) -> tuple[Tensor, ...]:
    """Blocks of n > 0 images one after the other; each is let go of before the next is made."""
    first = next(blocks)
    if any(values.requires_grad for values in first):
        return tuple(torch.cat(parts) for parts in zip(first, *blocks, strict=True))
    whole = tuple(values.new_empty(n, *values.shape[1:]) for values in first)
    start = 0
    for block in chain([first], blocks):
        for values, part in zip(whole, block, strict=True):
            values[start : start + len(part)] = part
        start += len(block[0])
    return whole
