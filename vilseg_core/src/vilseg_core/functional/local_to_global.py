"""Local-to-global correspondence: cross-entropy between views of one image (Eq. 2).

v = local views, g = global views, n = images, k = prototypes.
"""

import torch
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
    exclude_same: bool = False,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Mean over pairs of views and images of -sum_k p_k ln q_k, in nats (Eq. 2).

    p = softmax((global - center) / global_temperature) is the target and
    q = softmax(local / local_temperature). Temperatures of 1 with no centre and
    `stop_gradient=False` are Eq. 2 to the letter. No pair of views, or no image, gives 0.

    With several global views the mean is over every (global, local) pair, for the work of v + g
    views and not of v g: sum_t CE(p_t, q_s) = -<sum_t p_t, ln q_s>.

    Args:
        local_logits: (v, n, k).
        global_logits: (n, k), or (g, n, k).
        local_temperature: divides the local logits.
        global_temperature: divides the global logits; below the local one it sharpens the target.
        center: (k,) or (1, k), subtracted from the global logits; receives no gradient.
        stop_gradient: whether the target is a constant.
        exclude_same: whether local view s and global view s are the same view, as in DINO, whose
            students see the global crops first; such pairs are left out.
        group: processes whose images are joined; None means this process alone.

    Returns:
        0-d tensor, float32, or float64 where an input is.

    Raises:
        ValueError: shapes, dtypes, devices or temperatures are not as above.
    """
    _check(local_logits, global_logits, center=center)
    check_positive("local_temperature", local_temperature)
    check_positive("global_temperature", global_temperature)
    dtype = at_least_float32(local_logits, global_logits)
    with without_autocast(local_logits):
        target = global_logits.detach() if stop_gradient else global_logits
        target = (target if target.ndim == 3 else target.unsqueeze(0)).to(dtype)
        if center is not None:
            target = target - center.detach().to(dtype).reshape(1, -1)
        target = (target / global_temperature).softmax(-1)
        found = (local_logits.to(dtype) / local_temperature).log_softmax(-1)

        views, images = local_logits.shape[:2]
        same = min(views, len(target)) if exclude_same else 0
        total = -(target.sum(0) * found[same:].sum(0)).sum()
        if same > 0:
            total = total - (_sum_of_others(target)[:same] * found[:same]).sum()
        count = (views * len(target) - same) * images
        if group is None:
            return total / max(count, 1)
        joined = sum_over_group(torch.stack([total, total.new_full((), count)]), group)
        return joined[0] / joined[1].clamp_min(1)


def _sum_of_others(target: Tensor) -> Tensor:
    """For each of g views the sum over the other g - 1.

    From running sums of both sides: the total less the view itself would round away what the
    others say of a prototype of which the view is sure.
    """
    nothing = torch.zeros_like(target[:1])
    before = torch.cat([nothing, target[:-1].cumsum(0)])
    after = torch.cat([target[1:].flip(0).cumsum(0).flip(0), nothing])
    return before + after


def _check(local_logits: Tensor, global_logits: Tensor, *, center: Tensor | None) -> None:
    check_floating("local_logits", local_logits)
    check_floating("global_logits", global_logits)
    if (
        local_logits.ndim != 3
        or global_logits.ndim not in (2, 3)
        or local_logits.shape[1:] != global_logits.shape[-2:]
    ):
        raise ValueError(
            "local_logits, global_logits: expected shapes (v, n, k) and (n, k) or (g, n, k), came "
            f"{tuple(local_logits.shape)} and {tuple(global_logits.shape)}; "
            "stack the views along the first dimension."
        )
    prototypes = global_logits.shape[-1]
    if prototypes == 0:
        raise ValueError(
            f"global_logits: expected at least 1 prototype, came shape "
            f"{tuple(global_logits.shape)}; the prototypes stand in the last dimension."
        )
    if center is not None:
        check_floating("center", center)
    if center is not None and tuple(center.shape) not in ((prototypes,), (1, prototypes)):
        raise ValueError(
            f"center: expected shape ({prototypes},) or (1, {prototypes}), came "
            f"{tuple(center.shape)}; pass one value a prototype."
        )
    for name, tensor in (("global_logits", global_logits), ("center", center)):
        if tensor is not None and tensor.device != local_logits.device:
            raise ValueError(
                f"{name}: expected the device of local_logits, {local_logits.device}, came "
                f"{tensor.device}; move it with {name}.to(local_logits.device)."
            )
