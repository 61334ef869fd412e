"""Two tensors of logits over the same pixels, checked: shapes, dtypes, devices, the mask."""

from torch import Tensor

from vilseg_core._numerics import check_floating


def check_logits(
    logits_a: Tensor, logits_b: Tensor, *, channel_dim: int, head_dim: int | None = None
) -> tuple[int, int | None]:
    """Refuse two tensors that do not hold the same pixels; return both dimensions from 0."""
    check_floating("logits_a", logits_a)
    check_floating("logits_b", logits_b)
    shape = tuple(logits_a.shape)
    if logits_a.shape != logits_b.shape:
        raise ValueError(
            f"logits_a, logits_b: expected one shape, came {shape} and {tuple(logits_b.shape)}; "
            "position i of both must be the same pixel, so invert the view and match the grids."
        )
    if logits_a.device != logits_b.device:
        raise ValueError(
            f"logits_a, logits_b: expected one device, came {logits_a.device} and "
            f"{logits_b.device}; move one of them with .to(device)."
        )
    if len(shape) < (2 if head_dim is None else 3):
        heads = "" if head_dim is None else ", one of heads"
        raise ValueError(
            f"logits_a, logits_b: expected a channel dimension{heads} and at least one of pixels, "
            f"came shape {shape}; pass (n, c) or (b, c, h, w), and heads beside them."
        )
    dim = _dimension("channel_dim", channel_dim, shape, holds="clusters")
    head = None if head_dim is None else _dimension("head_dim", head_dim, shape, holds="heads")
    if head == dim:
        raise ValueError(
            f"head_dim: expected another dimension than channel_dim={channel_dim}, came "
            f"{head_dim}; heads and clusters are dimensions of their own."
        )
    if shape[dim] == 0:
        raise ValueError(
            f"logits_a, logits_b: expected at least one cluster, came shape {shape} with "
            f"channel_dim={channel_dim}; pass one logit a cluster."
        )
    if head is not None and shape[head] == 0:
        raise ValueError(
            f"logits_a, logits_b: expected at least one head, came shape {shape} with "
            f"head_dim={head_dim}; pass the logits of one head or more."
        )
    return dim, head


def check_displacement(displacement: int) -> None:
    """Refuse what is no number of pixels."""
    if isinstance(displacement, bool) or not isinstance(displacement, int) or displacement < 0:
        raise ValueError(
            f"displacement: expected a whole number of pixels >= 0, came {displacement!r}; "
            "0 pairs each pixel with itself alone."
        )


def check_grid(logits: Tensor, *, head: int | None) -> None:
    """Refuse pixels that have no neighbours to be displaced to."""
    if logits.ndim != (4 if head is None else 5):
        raise ValueError(
            "displacement: expected logits over a grid, (b, c, h, w) and a dimension of heads "
            f"where head_dim is given, came shape {tuple(logits.shape)}; set displacement=0 for "
            "pixels without neighbours."
        )


def pixel_weights(mask: Tensor, logits: Tensor, *, dim: int, head: int | None = None) -> Tensor:
    """One weight a pixel, in the shape of the logits without channels and heads."""
    apart = (dim, head)
    without = [size for i, size in enumerate(logits.shape) if i not in apart]
    kept = [1 if i in apart else size for i, size in enumerate(logits.shape)]
    if list(mask.shape) not in (without, kept):
        heads = "" if head is None else " and heads"
        raise ValueError(
            f"mask: expected one value a pixel, shape {tuple(without)} or {tuple(kept)}, came "
            f"{tuple(mask.shape)}; give it the shape of the logits without their channels{heads}."
        )
    if mask.is_complex():
        raise ValueError(
            f"mask: expected booleans or real numbers, came {mask.dtype}; pass mask.real or "
            "mask.abs()."
        )
    if mask.device != logits.device:
        raise ValueError(
            f"mask: expected the device of the logits, {logits.device}, came {mask.device}; "
            "move it with .to(device)."
        )
    return mask.reshape(without)


def _dimension(name: str, value: int, shape: tuple[int, ...], *, holds: str) -> int:
    if not -len(shape) <= value < len(shape):
        raise ValueError(
            f"{name}: expected a dimension of logits of shape {shape}, came {value}; pass the "
            f"dimension that holds the {holds}."
        )
    return value % len(shape)
