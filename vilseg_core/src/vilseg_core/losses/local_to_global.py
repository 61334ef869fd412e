"""Local-to-global correspondence with its targets (Eq. 2)."""

from typing import Literal

import torch
from torch import Tensor, nn

from vilseg_core._numerics import at_least_float32, check_choice, check_positive
from vilseg_core.distributed import ProcessGroup, sum_over_group
from vilseg_core.functional import local_to_global_cross_entropy, sinkhorn_log_assignment

Targets = Literal["sinkhorn", "center", "none"]
TARGETS: tuple[str, ...] = ("sinkhorn", "center", "none")


class LocalToGlobalLoss(nn.Module):
    """`functional.local_to_global_cross_entropy` with a way to keep its targets from collapsing.

    Eq. 2 alone is minimal when every image gives the same prototype. `targets="sinkhorn"` balances
    the prototypes over the batch; `"center"` subtracts a running mean of the global logits, which
    moves only when `update` is called; `"none"` is Eq. 2 (to the letter with both temperatures 1
    and `stop_gradient=False`).

    Args:
        num_prototypes: k, the width of the logits.
        local_temperature: divides the local logits.
        global_temperature: divides the global logits.
        center_momentum: share of the old centre that an update keeps.
        stop_gradient: whether the targets are constants; Sinkhorn's always are.
        targets: `"sinkhorn"`, `"center"` or `"none"`.
        sinkhorn_iterations: number of scalings.
        group: processes whose images are joined; None means this process alone.

    Raises:
        ValueError: an option is out of its range, or Sinkhorn targets are asked for a gradient.
    """

    center: Tensor

    def __init__(
        self,
        num_prototypes: int,
        *,
        local_temperature: float = 0.1,
        global_temperature: float = 0.05,
        center_momentum: float = 0.9,
        stop_gradient: bool = True,
        targets: Targets = "sinkhorn",
        sinkhorn_iterations: int = 3,
        group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        check_positive("num_prototypes", num_prototypes)
        check_positive("local_temperature", local_temperature)
        check_positive("global_temperature", global_temperature)
        check_positive("sinkhorn_iterations", sinkhorn_iterations)
        check_choice("targets", targets, TARGETS)
        if not 0.0 <= center_momentum < 1.0:
            raise ValueError(
                f"center_momentum: expected 0 <= momentum < 1, came {center_momentum!r}; "
                "0.9 is customary."
            )
        if targets == "sinkhorn" and not stop_gradient:
            raise ValueError(
                "stop_gradient: expected True with targets='sinkhorn', whose targets are "
                "constants, came False; choose targets='center' or 'none' to keep the gradient."
            )
        self.num_prototypes = num_prototypes
        self.local_temperature = local_temperature
        self.global_temperature = global_temperature
        self.center_momentum = center_momentum
        self.stop_gradient = stop_gradient
        self.targets: Targets = targets
        self.sinkhorn_iterations = sinkhorn_iterations
        self.group = group
        self.register_buffer("center", torch.zeros(1, num_prototypes))

    def forward(self, local_logits: Tensor, global_logits: Tensor) -> Tensor:
        """(v, n, k), (n, k) -> 0-d loss in nats."""
        self._check_width("local_logits", local_logits)
        self._check_width("global_logits", global_logits)
        global_temperature = self.global_temperature
        if self.targets == "sinkhorn":
            global_logits = sinkhorn_log_assignment(
                global_logits,
                temperature=global_temperature,
                iterations=self.sinkhorn_iterations,
                group=self.group,
            )
            global_temperature = 1.0
        return local_to_global_cross_entropy(
            local_logits,
            global_logits,
            local_temperature=self.local_temperature,
            global_temperature=global_temperature,
            center=self.center if self.targets == "center" else None,
            stop_gradient=self.stop_gradient,
            group=self.group,
        )

    @torch.no_grad()
    def update(self, global_logits: Tensor) -> None:
        """Move the centre, in place, towards the mean of (n, k); nothing unless it is in use.

        An empty batch moves nothing.

        Raises:
            ValueError: the shape is not as above.
        """
        if self.targets != "center":
            return
        self._check_width("global_logits", global_logits)
        if global_logits.ndim != 2:
            raise ValueError(
                f"global_logits: expected shape (n, {self.num_prototypes}), came "
                f"{tuple(global_logits.shape)}; pass one row an image."
            )
        rows = global_logits.to(at_least_float32(global_logits, self.center))
        count = rows.new_full((1,), rows.shape[0])
        sums = sum_over_group(torch.cat([rows.sum(0), count]), self.group)
        weight = (1.0 - self.center_momentum) * (sums[-1] > 0)
        mean = sums[:-1] / sums[-1].clamp_min(1)
        self.center.copy_(self.center.to(mean.dtype).lerp(mean, weight))

    def _check_width(self, name: str, logits: Tensor) -> None:
        if logits.ndim == 0 or logits.shape[-1] != self.num_prototypes:
            raise ValueError(
                f"{name}: expected {self.num_prototypes} prototypes in the last dimension, came "
                f"shape {tuple(logits.shape)}; project to num_prototypes first."
            )

    def extra_repr(self) -> str:
        return (
            f"num_prototypes={self.num_prototypes}, targets={self.targets!r}, "
            f"local_temperature={self.local_temperature:g}, "
            f"global_temperature={self.global_temperature:g}"
        )
