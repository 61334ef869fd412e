"""Local-to-global correspondence: cross-entropy between views of one image (Eq. 2).

v = local views, n = images, k = prototypes.
"""

from torch import Tensor

from vilseg_core._numerics import (
    at_least_float32,
    check_floating,
    check_positive,
    without_autocast,
)
from vilseg_core.distributed import ProcessGroup, sum_over_group


def local_to_global_cross_entropy(
    local_logits: Tensor,
    global_logits: Tensor,
    *,
    local_temperature: float,
    global_temperature: float,
    center: Tensor | None = None,
    stop_gradient: bool = True,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Mean over views and images of -sum_k p_k ln q_k, in nats (Eq. 2).

    p = softmax((global - center) / global_temperature) is the target and
    q = softmax(local / local_temperature). Temperatures of 1 with no centre and
    `stop_gradient=False` are Eq. 2 to the letter. No view, or no image, gives 0.

    Args:
        local_logits: (v, n, k).
        global_logits: (n, k).
        local_temperature: divides the local logits.
        global_temperature: divides the global logits; below the local one it sharpens the target.
        center: (k,) or (1, k), subtracted from the global logits; receives no gradient.
        stop_gradient: whether the target is a constant.
        group: processes whose images are joined; None means this process alone.

    Returns:
        0-d tensor, float32, or float64 where an input is.

    Raises:
        ValueError: shapes, dtypes or temperatures are not as above.
    """
    _check(local_logits, global_logits, center=center)
    check_positive("local_temperature", local_temperature)
    check_positive("global_temperature", global_temperature)
    dtype = at_least_float32(local_logits, global_logits)
    with without_autocast(local_logits):
        target = global_logits.detach() if stop_gradient else global_logits
        target = target.to(dtype)
        if center is not None:
            target = target - center.detach().to(dtype).reshape(1, -1)
        target = (target / global_temperature).softmax(-1)
        found = (local_logits.to(dtype) / local_temperature).log_softmax(-1)
        total = -(target * found).sum()
        count = local_logits.shape[0] * local_logits.shape[1]
        if group is None:
            return total / max(count, 1)
        counts = sum_over_group(total.new_tensor(float(count)), group)
        return sum_over_group(total, group) / counts.clamp_min(1)


def _check(local_logits: Tensor, global_logits: Tensor, *, center: Tensor | None) -> None:
    check_floating("local_logits", local_logits)
    check_floating("global_logits", global_logits)
    if (
        local_logits.ndim != 3
        or global_logits.ndim != 2
        or local_logits.shape[1:] != global_logits.shape
    ):
        raise ValueError(
            "local_logits, global_logits: expected shapes (v, n, k) and (n, k), came "
            f"{tuple(local_logits.shape)} and {tuple(global_logits.shape)}; "
            "stack the local views along the first dimension."
        )
    prototypes = global_logits.shape[1]
    if center is not None and tuple(center.shape) not in ((prototypes,), (1, prototypes)):
        raise ValueError(
            f"center: expected shape ({prototypes},) or (1, {prototypes}), came "
            f"{tuple(center.shape)}; pass one value a prototype."
        )
