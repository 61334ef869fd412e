"""A temperature that may be learnt, as the logarithm of a bounded factor on cosines."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vilseg_core._numerics import at_least_float32, check_positive


class LogitScale(nn.Module):
    """The state of a contrastive loss: `logit_scale` = ln(1 / temperature), CLIP's state-dict key.

    The factor on the cosines is exp(logit_scale), at most `max_scale`. At that bound the gradient
    passes where a descent step would bring the scale down, and is 0 where it would push it further
    out, so the scale comes back when the data ask for it.
    """

    logit_scale: Tensor

    def __init__(self, temperature: float, *, learnable: bool, max_scale: float) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_positive("max_scale", max_scale)
        if 1.0 / temperature > max_scale:
            raise ValueError(
                f"temperature: expected at least 1 / max_scale = {1.0 / max_scale:g}, came "
                f"{temperature!r}; raise the temperature or max_scale."
            )
        hold(self, "logit_scale", -math.log(temperature), learnable=learnable)
        self.max_scale = max_scale

    def scale(self) -> Tensor:
        """The factor on the cosines, 0-d, at most `max_scale`."""
        logit_scale = self.logit_scale.to(at_least_float32(self.logit_scale))
        bounded: Tensor = _Bounded.apply(logit_scale, math.log(self.max_scale))
        return bounded.exp()


def hold(module: nn.Module, name: str, value: float, *, learnable: bool) -> None:
    """Keep a number as a 0-d parameter of `module`, or as a buffer."""
    if learnable:
        module.register_parameter(name, nn.Parameter(torch.tensor(value)))
    else:
        module.register_buffer(name, torch.tensor(value))


class _Bounded(torch.autograd.Function):
    """min(value, bound), with the gradient kept where descent leads back below the bound."""

    @staticmethod
    def forward(value: Tensor, bound: float) -> Tensor:
        return value.clamp(max=bound)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:  # noqa: ARG004
        value, bound = inputs
        ctx.save_for_backward(value > bound)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (beyond,) = ctx.saved_tensors
        outward = beyond & (grads[0] < 0)
        return grads[0].masked_fill(outward, 0.0), None
