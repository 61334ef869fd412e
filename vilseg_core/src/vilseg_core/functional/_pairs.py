"""The pairs of a contrastive loss: their checks, their labels, their joining over a group.

n = pairs of the joined batch, r = pairs of this rank, d = embedding dimension.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vilseg_core._numerics import check_floating
from vilseg_core.distributed import (
    ProcessGroup,
    RowsOfRanks,
    gather_rows,
    rows_of_ranks,
    share_rows,
)
from vilseg_core.ops import EXTRA, IGNORED


class Pairs(NamedTuple):
    """What this rank scores: its own images against the texts of all ranks.

    Attributes:
        images: (r + m, d), the pairs' own, then more images that are wrong for every text.
        texts: (n + k, d), the pairs' own, then more texts that are wrong for every image.
        ranks: the pairs of every rank; row i's partner is column `ranks.own.start` + i.
        labels: (n,), equal for pairs that are right for each other, `IGNORED` for those that take
            no part; None in the plain case, where a pair is right for itself alone.
        group: the processes that share the work.
        given: the dtype that the features came in; `images` and `texts` are float32 at least.
    """

    images: Tensor
    texts: Tensor
    ranks: RowsOfRanks
    labels: Tensor | None
    group: ProcessGroup | None
    given: torch.dtype

    @property
    def row_labels(self) -> Tensor:
        """(r + m,)"""
        return _extended(self._labels()[self.ranks.own], self.images.shape[0])

    @property
    def column_labels(self) -> Tensor:
        """(n + k,)"""
        return _extended(self._labels(), self.texts.shape[0])

    def _labels(self) -> Tensor:
        assert self.labels is not None
        return self.labels

    def number(self) -> float | Tensor:
        """How many pairs take part, at least 1: a divisor."""
        if self.labels is None:
            return max(self.ranks.total, 1)
        return (self.labels != IGNORED).sum().clamp_min(1)


def join_pairs(
    image: Tensor,
    text: Tensor,
    *,
    ids: Tensor | None = None,
    valid: Tensor | None = None,
    image_negatives: Tensor | None = None,
    text_negatives: Tensor | None = None,
    dtype: torch.dtype,
    group: ProcessGroup | None,
) -> Pairs:
    """Everything this rank needs of the other ranks' batches, in `dtype`; images stay put."""
    given = torch.promote_types(image.dtype, text.dtype)
    image, text = image.to(dtype), text.to(dtype)
    ranks = rows_of_ranks(text, group)
    labels = None
    if not all(option is None for option in (ids, valid, image_negatives, text_negatives)):
        labels = _pair_labels(ids, valid, image=image, ranks=ranks, group=group)
    if valid is not None:
        # Not multiplied by 0: what does not take part may be nan.
        image, text = (x.where(valid[:, None], 0.0) for x in (image, text))
    texts = share_rows(text, group, ranks=ranks)
    if text_negatives is not None:
        texts = torch.cat([texts, share_rows(text_negatives.to(dtype), group)])
    if image_negatives is not None:
        image = torch.cat([image, image_negatives.to(dtype)])
    return Pairs(image, texts, ranks, labels, group, given)


def _pair_labels(
    ids: Tensor | None,
    valid: Tensor | None,
    *,
    image: Tensor,
    ranks: RowsOfRanks,
    group: ProcessGroup | None,
) -> Tensor:
    labels = torch.arange(ranks.total, device=image.device)
    if ids is not None:
        joined = gather_rows(ids.to(torch.int64), group, ranks=ranks)
        # Any integers to 0, 1, ...: the place of each id among the different ones.
        ordered, order = joined.sort()
        place = (ordered.diff(prepend=ordered[:1]) != 0).cumsum(0)
        labels = torch.empty_like(labels).scatter(0, order, place)
    if valid is not None:
        taking_part = gather_rows(valid.to(torch.int64), group, ranks=ranks) > 0
        labels = labels.where(taking_part, IGNORED)
    return labels


def _extended(labels: Tensor, length: int) -> Tensor:
    return torch.cat([labels, labels.new_full((length - labels.shape[0],), EXTRA)])


def equal_labels(labels: Tensor) -> Tensor:
    """How many entries of (n,) labels equal each of them, itself included: (n,)."""
    ordered = labels.sort().values
    return torch.searchsorted(ordered, labels, right=True) - torch.searchsorted(ordered, labels)


def as_scalar(value: float | Tensor, like: Tensor, *, dtype: torch.dtype) -> Tensor:
    """A number as a 0-d tensor where `like` is; nothing is copied to a device but a tensor."""
    if isinstance(value, Tensor):
        return value.to(device=like.device, dtype=dtype)
    return like.new_full((), value, dtype=dtype)


def check_pairs(image: Tensor, text: Tensor) -> None:
    """Refuse two tensors that are not row by row the two sides of the same pairs."""
    check_floating("image", image)
    check_floating("text", text)
    if image.ndim != 2 or text.ndim != 2 or image.shape != text.shape:
        raise ValueError(
            "image, text: expected two tensors of one shape (n, d), came "
            f"{tuple(image.shape)} and {tuple(text.shape)}; pass one row a pair, row m of both "
            "being the same pair."
        )
    _check_device("text", text, image)


def check_number(name: str, value: float | Tensor, *, least: float, device: torch.device) -> None:
    """Refuse what is neither a finite number >= `least` nor a 0-d tensor where the features are."""
    if isinstance(value, Tensor):
        if value.ndim != 0:
            raise ValueError(
                f"{name}: expected a float or a 0-d tensor, came a tensor of shape "
                f"{tuple(value.shape)}; reshape it with {name}.reshape(())."
            )
        check_floating(name, value)
        # A 0-d tensor of the CPU goes anywhere, as in torch's own arithmetic.
        if value.device not in (device, torch.device("cpu")):
            raise ValueError(
                f"{name}: expected a tensor on {str(device)!r}, like image, came one on "
                f"{str(value.device)!r}; move it with {name}.to(image.device)."
            )
    elif not (math.isfinite(value) and value >= least):
        bound = f" >= {least:g}" if math.isfinite(least) else ""
        advice = "pass 1 / temperature" if name == "logit_scale" else "-10 is customary"
        raise ValueError(f"{name}: expected a finite number{bound}, came {value!r}; {advice}.")


def check_options(image: Tensor, *, ids: Tensor | None, valid: Tensor | None) -> None:
    """Refuse marks of pairs that are not one integer, or one boolean, a row of `image`."""
    if ids is not None:
        _check_marks("ids", ids, image)
        if ids.dtype == torch.bool or ids.is_floating_point() or ids.is_complex():
            raise ValueError(
                f"ids: expected integers, came {ids.dtype}; pass one int64 a pair, equal where "
                "pairs are right for each other."
            )
    if valid is not None:
        _check_marks("valid", valid, image)
        if valid.dtype != torch.bool:
            raise ValueError(
                f"valid: expected booleans, came {valid.dtype}; convert it with valid != 0."
            )


def check_negatives(name: str, negatives: Tensor | None, image: Tensor) -> None:
    """Refuse more candidates that are not rows like those of `image`."""
    if negatives is None:
        return
    check_floating(name, negatives)
    if negatives.ndim != 2 or negatives.shape[1] != image.shape[1]:
        raise ValueError(
            f"{name}: expected shape (m, {image.shape[1]}), came {tuple(negatives.shape)}; pass "
            "one row a candidate, of the width of image and text."
        )
    _check_device(name, negatives, image)


def _check_marks(name: str, marks: Tensor, image: Tensor) -> None:
    if tuple(marks.shape) != (image.shape[0],):
        raise ValueError(
            f"{name}: expected shape ({image.shape[0]},), came {tuple(marks.shape)}; pass one "
            "value a pair."
        )
    _check_device(name, marks, image)


def _check_device(name: str, tensor: Tensor, image: Tensor) -> None:
    if tensor.device != image.device:
        raise ValueError(
            f"{name}: expected a tensor on {str(image.device)!r}, like image, came one on "
            f"{str(tensor.device)!r}; move it with {name}.to(image.device)."
        )
