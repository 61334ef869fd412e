"""Image-text contrast pair by pair, with its temperature and bias."""

import math

from torch import Tensor

from vilseg_core._numerics import at_least_float32
from vilseg_core.distributed import ProcessGroup
from vilseg_core.functional import sigmoid_contrastive_loss
from vilseg_core.losses._logit_scale import LogitScale, hold
from vilseg_core.ops import Implementation, check_implementation


class SigmoidContrastiveLoss(LogitScale):
    """`functional.sigmoid_contrastive_loss` with a temperature and a bias that may be learnt.

    `logit_scale` holds ln(1 / temperature) and `logit_bias` the bias, both 0-d. As many scores are
    wrong as there are other pairs, so the bias starts low: the start is then not dominated by them.
    The scale is bounded as in `SymmetricInfoNCE`.

    Args:
        temperature: initial temperature.
        bias: initial bias.
        learnable: whether both are parameters; buffers otherwise.
        max_scale: the largest factor on the cosines.
        group: processes whose batches are joined; None means this process alone.
        impl: which implementation runs.

    Raises:
        ValueError: a number is out of its range, or 1 / temperature is above `max_scale`.
    """

    logit_bias: Tensor

    def __init__(
        self,
        temperature: float = 0.1,
        *,
        bias: float = -10.0,
        learnable: bool = True,
        max_scale: float = 100.0,
        group: ProcessGroup | None = None,
        impl: Implementation = "auto",
    ) -> None:
        super().__init__(temperature, learnable=learnable, max_scale=max_scale)
        if not math.isfinite(bias):
            raise ValueError(f"bias: expected a finite number, came {bias!r}; -10 is customary.")
        check_implementation(impl)
        hold(self, "logit_bias", bias, learnable=learnable)
        self.group = group
        self.impl: Implementation = impl

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        *,
        ids: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """(n, d), (n, d) of any norm, row m of both being one pair -> 0-d loss in nats.

        The keywords are those of `functional.sigmoid_contrastive_loss`.
        """
        return sigmoid_contrastive_loss(
            image,
            text,
            logit_scale=self.scale(),
            logit_bias=self.logit_bias.to(at_least_float32(self.logit_bias)),
            ids=ids,
            valid=valid,
            group=self.group,
            impl=self.impl,
        )

    def extra_repr(self) -> str:
        return f"max_scale={self.max_scale:g}, impl={self.impl!r}"
