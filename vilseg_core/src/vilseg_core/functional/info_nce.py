"""Image-text contrast: InfoNCE over the pairs of a batch (Eq. 3 and 4).

n = pairs in the batch (joined over the group), d = embedding dimension.
"""

from functools import partial
from typing import Literal, NamedTuple, overload

import torch
import torch.nn.functional as F
from torch import Tensor

from vilseg_core._numerics import at_least_float32, check_choice, without_autocast
from vilseg_core.distributed import ProcessGroup
from vilseg_core.functional._pair_statistics import Sides, joined_statistics, mean_scores
from vilseg_core.functional._pairs import (
    Pairs,
    as_scalar,
    check_negatives,
    check_number,
    check_options,
    check_pairs,
    equal_labels,
    join_pairs,
)
from vilseg_core.ops import (
    IGNORED,
    Implementation,
    Labelled,
    check_implementation,
    choose_implementation,
)
from vilseg_core.ops.triton_contrast import contrast

Direction = Literal["both", "image_to_text", "text_to_image"]
DIRECTIONS: tuple[str, ...] = ("both", "image_to_text", "text_to_image")


class ContrastStatistics(NamedTuple):
    """How a batch stands, joined over the group: 0-d tensors without a gradient.

    Attributes:
        accuracy_image_to_text: share of the images whose best text is a right one; a tie is a
            miss, and so is an empty batch.
        accuracy_text_to_image: share of the texts whose best image is a right one.
        positive_logit: mean score of the right pairs.
        hardest_negative_logit: mean over images and texts of their best wrong candidate's score;
            0 where there is none.
    """

    accuracy_image_to_text: Tensor
    accuracy_text_to_image: Tensor
    positive_logit: Tensor
    hardest_negative_logit: Tensor


@overload
def symmetric_info_nce(
    image: Tensor,
    text: Tensor,
    *,
    logit_scale: float | Tensor,
    direction: Direction = "both",
    ids: Tensor | None = None,
    valid: Tensor | None = None,
    label_smoothing: float = 0.0,
    image_negatives: Tensor | None = None,
    text_negatives: Tensor | None = None,
    group: ProcessGroup | None = None,
    impl: Implementation = "auto",
    return_statistics: Literal[False] = False,
) -> Tensor: ...


@overload
def symmetric_info_nce(
    image: Tensor,
    text: Tensor,
    *,
    logit_scale: float | Tensor,
    direction: Direction = "both",
    ids: Tensor | None = None,
    valid: Tensor | None = None,
    label_smoothing: float = 0.0,
    image_negatives: Tensor | None = None,
    text_negatives: Tensor | None = None,
    group: ProcessGroup | None = None,
    impl: Implementation = "auto",
    return_statistics: Literal[True],
) -> tuple[Tensor, ContrastStatistics]: ...


@overload
def symmetric_info_nce(
    image: Tensor,
    text: Tensor,
    *,
    logit_scale: float | Tensor,
    direction: Direction = "both",
    ids: Tensor | None = None,
    valid: Tensor | None = None,
    label_smoothing: float = 0.0,
    image_negatives: Tensor | None = None,
    text_negatives: Tensor | None = None,
    group: ProcessGroup | None = None,
    impl: Implementation = "auto",
    return_statistics: bool,
) -> Tensor | tuple[Tensor, ContrastStatistics]: ...


def symmetric_info_nce(
    image: Tensor,
    text: Tensor,
    *,
    logit_scale: float | Tensor,
    direction: Direction = "both",
    ids: Tensor | None = None,
    valid: Tensor | None = None,
    label_smoothing: float = 0.0,
    image_negatives: Tensor | None = None,
    text_negatives: Tensor | None = None,
    group: ProcessGroup | None = None,
    impl: Implementation = "auto",
    return_statistics: bool = False,
) -> Tensor | tuple[Tensor, ContrastStatistics]:
    """Cross-entropy of finding each row's partner among the batch, mean over the batch, in nats.

    Row m of `image` belongs to row m of `text`; similarities are cosines times `logit_scale`.
    `direction="image_to_text"` is Eq. 3-4 to the letter, `"text_to_image"` the same with the
    towers swapped, `"both"` the mean of the two. An empty batch and a batch of one pair give 0.

    The loss of a row is softplus(log-sum-exp of its wrong partners - its right one), which keeps
    its digits where `log-sum-exp of all - right one` has cancelled them away. With several right
    partners it is the cross-entropy to their uniform distribution (Khosla et al. 2020, Eq. 2):
    softplus(log-sum-exp of the wrong - that of the right) + that of the right - their mean.

    Args:
        image: (n, d), any norm.
        text: (n, d), any norm.
        logit_scale: 1 / temperature, a float or a 0-d tensor, which receives its gradient.
        direction: `"both"`, `"image_to_text"` or `"text_to_image"`.
        ids: (n,) integers; pairs with the same one are right for each other. None: all differ.
        valid: (n,) booleans; other pairs are neither counted nor candidates, and may be nan. The
            mean is over the valid ones; without any the loss is 0.
        label_smoothing: share of the target, 0 <= share < 1, that is spread evenly over all
            candidates, the right ones included.
        image_negatives: (m, d), more images that are wrong for every text.
        text_negatives: (k, d), more texts that are wrong for every image.
        group: processes whose batches are joined, negatives included; None means this process
            alone. Options must be given on all of its ranks or on none.
        impl: `"reference"` forms the n x n scores; `"chunked"` a block of their rows at a time,
            twice; `"triton"` a tile at a time, on CUDA, without ids, valid, negatives and float64.
            The last two have gradients of first order only. `"auto"` is the faster of the first
            two for this n.
        return_statistics: whether `ContrastStatistics` come beside the loss.

    Returns:
        0-d tensor, float32, or float64 where an input is; with `return_statistics` a pair of it
        and the statistics.

    Raises:
        ValueError: shapes, dtypes, devices or options are not as above.
    """
    check_pairs(image, text)
    check_number("logit_scale", logit_scale, least=0.0, device=image.device)
    check_choice("direction", direction, DIRECTIONS)
    check_options(image, ids=ids, valid=valid)
    check_smoothing(label_smoothing)
    check_negatives("image_negatives", image_negatives, image)
    check_negatives("text_negatives", text_negatives, image)
    check_implementation(impl)
    features = [x for x in (image, text, image_negatives, text_negatives) if x is not None]
    dtype = at_least_float32(*features)
    labelled = any(x is not None for x in (ids, valid, image_negatives, text_negatives))
    choose = partial(
        choose_implementation,
        impl,
        function="info_nce",
        device=image.device,
        dtype=dtype,
        unserved={"triton": "ids, valid or negatives are given"} if labelled else None,
    )
    wanted = direction != "text_to_image", direction != "image_to_text"
    with without_autocast(image):
        scale = as_scalar(logit_scale, image, dtype=dtype)
        alone = group is None and label_smoothing == 0.0 and not return_statistics
        if choose(size=image.shape[0]) == "triton" and alone:
            return contrast(image, text, scale, rows=wanted[0], columns=wanted[1])
        pairs = join_pairs(
            image,
            text,
            ids=ids,
            valid=valid,
            image_negatives=image_negatives,
            text_negatives=text_negatives,
            dtype=dtype,
            group=group,
        )
        sides = joined_statistics(
            pairs,
            scale,
            implementation=choose(size=max(pairs.images.shape[0], pairs.texts.shape[0])),
            rows=wanted[0] or return_statistics,
            columns=wanted[1] or return_statistics,
            bests=return_statistics,
        )
        losses = _losses(sides, pairs, scale, wanted=wanted, smoothing=label_smoothing)
        loss = torch.stack(losses).mean()
        return (loss, _statistics(sides, pairs)) if return_statistics else loss


def _losses(
    sides: Sides,
    pairs: Pairs,
    scale: Tensor,
    *,
    wanted: tuple[bool, bool],
    smoothing: float,
) -> list[Tensor]:
    """Mean cross-entropy of the images and of the texts of the pairs, where wanted."""
    rights = None if pairs.labels is None else equal_labels(pairs.labels)
    means: list[Tensor | None] = [None, None]
    if smoothing > 0.0:
        means = mean_scores(pairs, scale, rows=wanted[0], columns=wanted[1])
    losses = []
    for side, mean in zip(
        [side for side, asked in zip(sides, wanted, strict=True) if asked],
        [mean for mean, asked in zip(means, wanted, strict=True) if asked],
        strict=True,
    ):
        assert side is not None
        loss = _cross_entropy(side, pairs, rights)
        if mean is not None:
            even = _taking_part(side.right, pairs) + _excess(side, pairs) - mean
            loss = loss.lerp(even, smoothing)
        losses.append(_taking_part(loss, pairs).sum() / pairs.number())
    return losses


def _cross_entropy(side: Labelled, pairs: Pairs, rights: Tensor | None) -> Tensor:
    """To the even distribution over the right candidates, a pair: (n,)."""
    excess = _excess(side, pairs)
    if rights is None:
        return excess
    spread = side.right - side.right_sum / rights
    # With a single right candidate there is none, and its gradient would but round that of the
    # excess away.
    return excess + spread.where(rights > 1, 0.0)


def _excess(side: Labelled, pairs: Pairs) -> Tensor:
    """Log-sum-exp of all candidates above that of the right ones: (n,)."""
    wrong, right = _taking_part(side.wrong, pairs), _taking_part(side.right, pairs)
    # Above 40 softplus(x) is x to the last bit of float64; torch's own threshold of 20 is not.
    return F.softplus(wrong - right, threshold=40.0)


def _taking_part(values: Tensor, pairs: Pairs) -> Tensor:
    """0 for the pairs that take no part, whose statistics are not to be computed with."""
    return values if pairs.labels is None else values.where(pairs.labels != IGNORED, 0.0)


@torch.no_grad()
def _statistics(sides: Sides, pairs: Pairs) -> ContrastStatistics:
    image, text = sides
    assert image is not None
    assert text is not None
    rights = 1 if pairs.labels is None else equal_labels(pairs.labels)
    positive = _taking_part(image.right_sum / rights, pairs).sum() / pairs.number()
    accuracies, hardest, having = [], positive.new_zeros(()), positive.new_zeros(())
    for side in (image, text):
        found = _taking_part((side.best_right > side.best_wrong).to(positive.dtype), pairs)
        accuracies.append(found.sum() / pairs.number())
        some = side.best_wrong > torch.finfo(positive.dtype).min
        hardest = hardest + side.best_wrong.where(some, 0.0).sum()
        having = having + some.sum()
    return ContrastStatistics(accuracies[0], accuracies[1], positive, hardest / having.clamp_min(1))


def check_smoothing(label_smoothing: float) -> None:
    """Refuse a share of the target that leaves nothing to the right candidates."""
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(
            f"label_smoothing: expected 0 <= share < 1, came {label_smoothing!r}; 0.1 is customary."
        )
