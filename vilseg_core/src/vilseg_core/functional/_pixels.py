"""Logits of any layout as rows of pixels: (b, c, h, w), (n, c) or (..., c) -> (pixels, c)."""

from torch import Tensor

from vilseg_core._numerics import check_floating


def check_logits(logits_a: Tensor, logits_b: Tensor, *, channel_dim: int) -> int:
    """Refuse two tensors that do not hold the same pixels; return `channel_dim` counted from 0."""
    check_floating("logits_a", logits_a)
    check_floating("logits_b", logits_b)
    if logits_a.shape != logits_b.shape:
        raise ValueError(
            "logits_a, logits_b: expected one shape, came "
            f"{tuple(logits_a.shape)} and {tuple(logits_b.shape)}; "
            "position i of both must be the same pixel, so invert the view and match the grids."
        )
    if logits_a.ndim < 2:
        raise ValueError(
            "logits_a, logits_b: expected a channel dimension and at least one of pixels, came "
            f"shape {tuple(logits_a.shape)}; pass (n, c) or (b, c, h, w)."
        )
    if not -logits_a.ndim <= channel_dim < logits_a.ndim:
        raise ValueError(
            f"channel_dim: expected a dimension of logits of shape {tuple(logits_a.shape)}, "
            f"came {channel_dim}; pass the dimension that holds the clusters."
        )
    dim = channel_dim % logits_a.ndim
    if logits_a.shape[dim] == 0:
        raise ValueError(
            f"logits_a, logits_b: expected at least one cluster, came shape "
            f"{tuple(logits_a.shape)} with channel_dim={channel_dim}; pass one logit a cluster."
        )
    return dim


def pixel_rows(logits: Tensor, *, dim: int) -> Tensor:
    """Logits with c channels along `dim` as (pixels, c); a view where the layout allows."""
    return logits.movedim(dim, -1).reshape(-1, logits.shape[dim])


def pixel_weights(mask: Tensor, logits: Tensor, *, dim: int) -> Tensor:
    """One weight a pixel as (pixels, 1), in the order of `pixel_rows`."""
    shape = list(logits.shape)
    with_channel = [*shape[:dim], 1, *shape[dim + 1 :]]
    without_channel = [*shape[:dim], *shape[dim + 1 :]]
    if list(mask.shape) not in (with_channel, without_channel):
        raise ValueError(
            f"mask: expected one value a pixel, shape {tuple(without_channel)} or "
            f"{tuple(with_channel)}, came {tuple(mask.shape)}; "
            "give it the shape of the logits without their channels."
        )
    return mask.reshape(-1, 1)
