"""Image-text contrast: InfoNCE over the pairs of a batch (Eq. 3 and 4).

n = pairs in the batch (joined over the group), d = embedding dimension.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vilseg_core._numerics import (
    at_least_float32,
    check_choice,
    check_floating,
    without_autocast,
)
from vilseg_core.distributed import ProcessGroup, gather_rows
from vilseg_core.ops import (
    Implementation,
    check_implementation,
    choose_implementation,
    contrast,
)

Direction = Literal["both", "image_to_text", "text_to_image"]
DIRECTIONS: tuple[str, ...] = ("both", "image_to_text", "text_to_image")


def symmetric_info_nce(
    image: Tensor,
    text: Tensor,
    *,
    logit_scale: float | Tensor,
    direction: Direction = "both",
    group: ProcessGroup | None = None,
    impl: Implementation = "auto",
) -> Tensor:
    """Cross-entropy of finding each row's partner among the batch, mean over the batch, in nats.

    Row m of `image` belongs to row m of `text`; similarities are cosines times `logit_scale`.
    `direction="image_to_text"` is Eq. 3-4 to the letter, `"text_to_image"` the same with the
    towers swapped, `"both"` the mean of the two. An empty batch and a batch of one pair give 0.

    The loss of a row is softplus(log-sum-exp of its wrong partners - its right one), which keeps
    its digits where `log-sum-exp of all - right one` has cancelled them away.

    Args:
        image: (n, d), any norm.
        text: (n, d), any norm.
        logit_scale: 1 / temperature, a float or a 0-d tensor, which receives its gradient.
        direction: `"both"`, `"image_to_text"` or `"text_to_image"`.
        group: processes whose batches are joined; None means this process alone.
        impl: `"reference"` forms the n x n scores; `"chunked"` a block of their rows at a time,
            twice, and has gradients of first order only; `"auto"` is the faster for this n.

    Returns:
        0-d tensor, float32, or float64 where an input is.

    Raises:
        ValueError: shapes, dtypes, `logit_scale`, `direction` or `impl` are not as above.
    """
    _check_pairs(image, text)
    _check_scale(logit_scale)
    check_choice("direction", direction, DIRECTIONS)
    check_implementation(impl)
    dtype = at_least_float32(image, text)
    with without_autocast(image):
        image, text = image.to(dtype), text.to(dtype)
        if group is not None:
            image, text = gather_rows(torch.cat([image, text], dim=1), group).chunk(2, dim=1)
        if isinstance(logit_scale, Tensor):
            scale = logit_scale.to(dtype)
        else:
            scale = image.new_full((), logit_scale)
        chosen = choose_implementation(
            impl, function="info_nce", size=image.shape[0], device=image.device, dtype=dtype
        )
        if chosen == "chunked":
            rows, columns = direction != "text_to_image", direction != "image_to_text"
            return contrast(image, text, scale, rows=rows, columns=columns)
        cosines = F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
        return _contrast(cosines * scale, direction=direction)


def _contrast(logits: Tensor, *, direction: Direction) -> Tensor:
    count = logits.shape[0]
    right = logits.diagonal()
    # The lowest finite value, not -inf: with a single pair the sum over wrong partners is empty,
    # and the gradient of log-sum-exp over nothing but -inf is not a number.
    diagonal = torch.eye(count, dtype=torch.bool, device=logits.device)
    wrong = logits.masked_fill(diagonal, torch.finfo(logits.dtype).min)
    dims = {"both": (1, 0), "image_to_text": (1,), "text_to_image": (0,)}[direction]
    # Above 40 softplus(x) is x to the last bit of float64; torch's own threshold of 20 is not.
    losses = [F.softplus(wrong.logsumexp(dim) - right, threshold=40.0).sum() for dim in dims]
    return torch.stack(losses).sum() / (len(dims) * max(count, 1))


def _check_pairs(image: Tensor, text: Tensor) -> None:
    check_floating("image", image)
    check_floating("text", text)
    if image.ndim != 2 or text.ndim != 2 or image.shape != text.shape:
        raise ValueError(
            "image, text: expected two tensors of one shape (n, d), came "
            f"{tuple(image.shape)} and {tuple(text.shape)}; pass one row a pair, row m of both "
            "being the same pair."
        )


def _check_scale(logit_scale: float | Tensor) -> None:
    if isinstance(logit_scale, Tensor):
        if logit_scale.ndim != 0:
            raise ValueError(
                "logit_scale: expected a float or a 0-d tensor, came a tensor of shape "
                f"{tuple(logit_scale.shape)}; reshape it with logit_scale.reshape(())."
            )
    elif not (math.isfinite(logit_scale) and logit_scale >= 0):
        raise ValueError(
            f"logit_scale: expected a finite number >= 0, came {logit_scale!r}; "
            "pass 1 / temperature."
        )
