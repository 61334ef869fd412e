"""Image-text contrast with its temperature (Eq. 3 and 4)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vilseg_core._numerics import at_least_float32, check_choice, check_positive
from vilseg_core.distributed import ProcessGroup
from vilseg_core.functional import symmetric_info_nce
from vilseg_core.functional.info_nce import DIRECTIONS, Direction
from vilseg_core.ops import Implementation, check_implementation


class SymmetricInfoNCE(nn.Module):
    """`functional.symmetric_info_nce` with a temperature that may be learnt.

    `logit_scale` holds ln(1 / temperature), under CLIP's state-dict key; the factor on the cosines
    is exp(logit_scale), at most `max_scale`. At that bound the gradient passes where a descent
    step would bring the scale down, and is 0 where it would push it further out, so the scale
    comes back when the data ask for it.

    Args:
        temperature: initial temperature.
        learnable: whether `logit_scale` is a parameter; a buffer otherwise.
        max_scale: the largest factor on the cosines.
        direction: `"both"`, `"image_to_text"` (Eq. 3-4 to the letter) or `"text_to_image"`.
        group: processes whose batches are joined; None means this process alone.
        impl: which implementation runs.

    Raises:
        ValueError: a number is not positive and finite, or 1 / temperature is above `max_scale`.
    """

    logit_scale: Tensor

    def __init__(
        self,
        temperature: float = 0.07,
        *,
        learnable: bool = True,
        max_scale: float = 100.0,
        direction: Direction = "both",
        group: ProcessGroup | None = None,
        impl: Implementation = "auto",
    ) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_positive("max_scale", max_scale)
        if 1.0 / temperature > max_scale:
            raise ValueError(
                f"temperature: expected at least 1 / max_scale = {1.0 / max_scale:g}, came "
                f"{temperature!r}; raise the temperature or max_scale."
            )
        check_choice("direction", direction, DIRECTIONS)
        check_implementation(impl)
        logit_scale = torch.tensor(-math.log(temperature))
        if learnable:
            self.logit_scale = nn.Parameter(logit_scale)
        else:
            self.register_buffer("logit_scale", logit_scale)
        self.max_scale = max_scale
        self.direction: Direction = direction
        self.group = group
        self.impl: Implementation = impl

    def scale(self) -> Tensor:
        """The factor on the cosines, 0-d, at most `max_scale`."""
        logit_scale = self.logit_scale.to(at_least_float32(self.logit_scale))
        bounded: Tensor = _Bounded.apply(logit_scale, math.log(self.max_scale))
        return bounded.exp()

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """(n, d), (n, d) of any norm, row m of both being one pair -> 0-d loss in nats."""
        return symmetric_info_nce(
            image,
            text,
            logit_scale=self.scale(),
            direction=self.direction,
            group=self.group,
            impl=self.impl,
        )

    def extra_repr(self) -> str:
        return f"max_scale={self.max_scale:g}, direction={self.direction!r}, impl={self.impl!r}"


class _Bounded(torch.autograd.Function):
    """min(value, bound), with the gradient kept where descent leads back below the bound."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(value > bound)
        return value.clamp(max=bound)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (beyond,) = ctx.saved_tensors
        outward = beyond & (grads[0] < 0)
        return grads[0].masked_fill(outward, 0.0), None
