"""Statistics of the scores of pairs, of this rank's rows and then of the joined batch.

n = pairs of the joined batch, r = pairs of this rank, c = columns of this rank's scores.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vilseg_core.distributed import (
    gather_rows,
    logsumexp_over_group,
    max_over_group,
    sum_over_group,
)
from vilseg_core.functional._pairs import Pairs
from vilseg_core.ops import (
    Labelled,
    PairStatistics,
    label_masks,
    labelled_statistics,
    pair_statistics,
    triton_contrast,
)

Sides = tuple[Labelled | None, Labelled | None]


def joined_statistics(
    pairs: Pairs, scale: Tensor, *, implementation: str, rows: bool, columns: bool, bests: bool
) -> Sides:
    """Statistics (n,) of the images and of the texts of all pairs, the same on every rank.

    A side that is not wanted is None. Over a group a rank has scored its own rows: those of the
    images are complete and are gathered, those of the texts are its part of a sum. Without `bests`
    the best scores of the texts remain this rank's part, for one message less.
    """
    if pairs.labels is None:
        found = _plain(pairs, scale, implementation, rows=rows, columns=columns)
        by_row = _gathered(found.wrong_by_row, found.right, found.best_by_row, pairs=pairs)
        wrong, right, best = by_row
        best_right = right.detach()
        image = Labelled(wrong, right, right, best, best_right) if rows else None
        if not columns:
            return image, None
        wrong = logsumexp_over_group(found.wrong_by_column, pairs.group)
        best = found.best_by_column
        if bests:
            best = max_over_group(best, pairs.group)
        return image, Labelled(wrong, right, right, best, best_right)
    own, others = _labelled(pairs, scale, implementation)
    image = Labelled(*_gathered(*own, pairs=pairs)) if rows else None
    return image, _summed(others, pairs=pairs, bests=bests) if columns else None


def mean_scores(pairs: Pairs, scale: Tensor, *, rows: bool, columns: bool) -> list[Tensor | None]:
    """Mean over all candidates of the scores (n,) of the images and of the texts of all pairs.

    From the sum of the candidates' unit rows; those that take no part are rows of 0.
    """
    images, texts = F.normalize(pairs.images, dim=1), F.normalize(pairs.texts, dim=1)
    own, number = pairs.ranks.counts[pairs.ranks.rank], pairs.number()
    by_row = by_column = None
    if rows:
        more = texts.shape[0] - pairs.ranks.total
        (total,) = _gathered(scale * (images @ texts.sum(0)), pairs=pairs)
        by_row = total / (number + more)
    if columns:
        more_images = scale.new_full((1,), images.shape[0] - own)
        part = scale * (texts[: pairs.ranks.total] @ images.sum(0))
        joined = sum_over_group(torch.cat([part, more_images]), pairs.group)
        by_column = joined[:-1] / (number + joined[-1])
    return [by_row, by_column]


def _gathered(*vectors: Tensor, pairs: Pairs) -> tuple[Tensor, ...]:
    """Vectors of this rank's rows, those of its pairs, to vectors (n,); one message."""
    own = torch.stack(vectors, dim=1)[: pairs.ranks.counts[pairs.ranks.rank]]
    return gather_rows(own, pairs.group, ranks=pairs.ranks).unbind(1)


def _summed(part: Labelled, *, pairs: Pairs, bests: bool) -> Labelled:
    """Of columns (c,), over this rank's rows, to those of the pairs (n,), over all rows."""
    part = Labelled(*(vector[: pairs.ranks.total] for vector in part))
    sums = logsumexp_over_group(torch.stack([part.wrong, part.right]), pairs.group)
    right_sum = sum_over_group(part.right_sum, pairs.group)
    best = torch.stack([part.best_wrong, part.best_right])
    if bests:
        best = max_over_group(best, pairs.group)
    return Labelled(sums[0], sums[1], right_sum, best[0], best[1])


def _plain(
    pairs: Pairs, scale: Tensor, implementation: str, *, rows: bool, columns: bool
) -> PairStatistics:
    first = pairs.ranks.own.start
    if implementation == "chunked":
        return pair_statistics(
            pairs.images, pairs.texts, scale, first=first, rows=rows, columns=columns
        )
    if implementation == "triton":
        # Back to the dtype they came in, which holds them exactly and has the faster products.
        images, texts = pairs.images.to(pairs.given), pairs.texts.to(pairs.given)
        return PairStatistics(*triton_contrast.pair_statistics(images, texts, scale, first=first))
    scores = reference_scores(pairs.images, pairs.texts, scale)
    right = scores.diagonal(first)
    # The lowest finite value, not -inf: with a single pair the sum over wrong partners is empty,
    # and the gradient of log-sum-exp over nothing but -inf is not a number.
    wrong = scores.masked_fill(_own_partners(pairs), _lowest(scores))
    return PairStatistics(
        _logsumexp(wrong, dim=1),
        _logsumexp(wrong, dim=0),
        right,
        _best(wrong, dim=1),
        _best(wrong, dim=0),
    )


def _labelled(pairs: Pairs, scale: Tensor, implementation: str) -> tuple[Labelled, Labelled]:
    if implementation == "chunked":
        return labelled_statistics(
            pairs.images,
            pairs.texts,
            scale,
            row_labels=pairs.row_labels,
            column_labels=pairs.column_labels,
        )
    scores = reference_scores(pairs.images, pairs.texts, scale)
    right, ignored = partner_masks(pairs)
    wrong_scores = scores.masked_fill(right | ignored, _lowest(scores))
    right_scores = scores.masked_fill(~right, _lowest(scores))
    rows, columns = (
        Labelled(
            _logsumexp(wrong_scores, dim=dim),
            _logsumexp(right_scores, dim=dim),
            scores.where(right, 0.0).sum(dim),
            _best(wrong_scores, dim=dim),
            _best(right_scores, dim=dim),
        )
        for dim in (1, 0)
    )
    return rows, columns


def reference_scores(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """All scores at once: (r, d) and (c, d) of any norm -> (r, c)."""
    return F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T * scale


def partner_masks(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Which of this rank's scores are right and which take no part: two (r, c) masks."""
    if pairs.labels is not None:
        return label_masks(pairs.row_labels, pairs.column_labels)
    right = _own_partners(pairs)
    return right, torch.zeros_like(right)


def _own_partners(pairs: Pairs) -> Tensor:
    rows = torch.arange(pairs.images.shape[0], device=pairs.images.device)
    columns = torch.arange(pairs.texts.shape[0], device=pairs.images.device)
    right: Tensor = rows[:, None] + pairs.ranks.own.start == columns
    return right


def _lowest(scores: Tensor) -> float:
    return torch.finfo(scores.dtype).min


def _logsumexp(scores: Tensor, *, dim: int) -> Tensor:
    # A rank may have no row: the sum over nothing is -inf.
    return scores.logsumexp(dim).clamp_min(_lowest(scores))


def _best(scores: Tensor, *, dim: int) -> Tensor:
    scores = scores.detach()
    if scores.shape[dim] == 0:
        return scores.new_full((scores.shape[1 - dim],), _lowest(scores))
    return scores.amax(dim)
