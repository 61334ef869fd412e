"""Image-text contrast as one yes-or-no question a pair of rows (Zhai et al. 2023).

n = pairs in the batch (joined over the group), d = embedding dimension.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vilseg_core._numerics import at_least_float32, without_autocast
from vilseg_core.distributed import ProcessGroup, sum_over_group
from vilseg_core.functional._pair_statistics import partner_masks, reference_scores
from vilseg_core.functional._pairs import (
    Pairs,
    as_scalar,
    check_number,
    check_options,
    check_pairs,
    join_pairs,
)
from vilseg_core.ops import (
    Implementation,
    check_implementation,
    choose_implementation,
    sigmoid_loss_sum,
)


def sigmoid_contrastive_loss(
    image: Tensor,
    text: Tensor,
    *,
    logit_scale: float | Tensor,
    logit_bias: float | Tensor,
    ids: Tensor | None = None,
    valid: Tensor | None = None,
    group: ProcessGroup | None = None,
    impl: Implementation = "auto",
) -> Tensor:
    """Cross-entropy of telling right from wrong, summed over all n x n scores, over n, in nats.

    A score is a cosine times `logit_scale` plus `logit_bias`; the loss of a right one is
    softplus(-score), of a wrong one softplus(score) (Zhai et al. 2023, Algorithm 1). Row m
    of `image` belongs to row m of `text`. An empty batch gives 0.

    Args:
        image: (n, d), any norm.
        text: (n, d), any norm.
        logit_scale: 1 / temperature, a float or a 0-d tensor, which receives its gradient.
        logit_bias: added to every score, a float or a 0-d tensor, which receives its gradient.
        ids: (n,) integers; pairs with the same one are right for each other. None: all differ.
        valid: (n,) booleans; other pairs are neither counted nor scored, and may be nan. n is the
            number of valid ones; without any the loss is 0.
        group: processes whose batches are joined; None means this process alone. Options must be
            given on all of its ranks or on none.
        impl: `"reference"` forms the n x n scores; `"chunked"` a block of their rows at a time,
            twice, and has gradients of first order only; `"auto"` is the faster for this n. There
            is no kernel.

    Returns:
        0-d tensor, float32, or float64 where an input is.

    Raises:
        ValueError: shapes, dtypes, devices or options are not as above.
    """
    check_pairs(image, text)
    check_number("logit_scale", logit_scale, least=0.0, device=image.device)
    check_number("logit_bias", logit_bias, least=-math.inf, device=image.device)
    check_options(image, ids=ids, valid=valid)
    check_implementation(impl)
    dtype = at_least_float32(image, text)
    with without_autocast(image):
        pairs = join_pairs(image, text, ids=ids, valid=valid, dtype=dtype, group=group)
        scale, bias = (as_scalar(value, image, dtype=dtype) for value in (logit_scale, logit_bias))
        chosen = choose_implementation(
            impl,
            function="sigmoid",
            size=pairs.texts.shape[0],
            device=image.device,
            dtype=dtype,
        )
        if chosen == "chunked":
            total = _chunked_sum(pairs, scale, bias)
        else:
            total = _reference_sum(pairs, scale, bias)
        return sum_over_group(total, group) / pairs.number()


def _reference_sum(pairs: Pairs, scale: Tensor, bias: Tensor) -> Tensor:
    scores = reference_scores(pairs.images, pairs.texts, scale) + bias
    right, ignored = partner_masks(pairs)
    # Above 40 softplus(x) is x to the last bit of float64; torch's own threshold of 20 is not.
    losses = F.softplus(torch.where(right, -scores, scores), threshold=40.0)
    return losses.masked_fill(ignored, 0.0).sum()


def _chunked_sum(pairs: Pairs, scale: Tensor, bias: Tensor) -> Tensor:
    plain = pairs.labels is None
    return sigmoid_loss_sum(
        pairs.images,
        pairs.texts,
        scale,
        bias,
        first=pairs.ranks.own.start,
        row_labels=None if plain else pairs.row_labels,
        column_labels=None if plain else pairs.column_labels,
    )
