"""What a local view is compared with: the global view's prototypes, kept from collapsing.

g = global views, n = images, k = prototypes.
"""

import torch
from torch import Tensor, nn

from vilseg_core._numerics import at_least_float32, check_count, check_floating
from vilseg_core.distributed import ProcessGroup, sum_over_group
from vilseg_core.functional import sinkhorn_log_assignment


def check_momentum(name: str, value: float) -> None:
    """Refuse a share of the old that is not in [0, 1)."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name}: expected 0 <= {name} < 1, came {value!r}; 0.9 is customary.")


class Targets(nn.Module):
    """Targets as Eq. 2 has them: softmax(global / temperature), with nothing to keep.

    The base of the others, and of your own: `forward` gives logits of the targets, `update` moves
    whatever state there is, when the training loop says so and never by itself.

    Attributes:
        constant: whether the targets never carry a gradient.
    """

    constant: bool = False

    def forward(self, global_logits: Tensor, *, temperature: float) -> Tensor:
        """(n, k) or (g, n, k) -> logits of the same shape, whose softmax is the target."""
        return global_logits.to(at_least_float32(global_logits)) / temperature

    def update(self, global_logits: Tensor) -> None:
        """Take note of (n, k) or (g, n, k); here there is nothing to note."""


class Centering(Targets):
    """Subtract a running mean of the global logits, so that no prototype wins everywhere.

        targets = Centering(2048)
        loss = LocalToGlobalLoss(2048, targets=targets)
        loss(local_logits, global_logits).backward()
        targets.update(global_logits)

    `center`, (1, k), begins at 0 and is moved in place; it is a buffer and saved with the module.
    Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers" (2021),
    Eq. 4.

    Args:
        num_prototypes: k, the width of the logits.
        momentum: share of the old centre that an update keeps.
        group: processes whose images are averaged together; None means this process alone.

    Raises:
        ValueError: an option is out of its range.
    """

    center: Tensor

    def __init__(
        self, num_prototypes: int, *, momentum: float = 0.9, group: ProcessGroup | None = None
    ) -> None:
        super().__init__()
        check_count("num_prototypes", num_prototypes)
        check_momentum("momentum", momentum)
        self.momentum = momentum
        self.group = group
        self.register_buffer("center", torch.zeros(1, num_prototypes))

    def forward(self, global_logits: Tensor, *, temperature: float) -> Tensor:
        """(n, k) or (g, n, k) -> (global - center) / temperature, at least in float32.

        Raises:
            ValueError: the shape or the dtype is not as above.
        """
        self._check(global_logits)
        dtype = at_least_float32(global_logits)
        return (global_logits.to(dtype) - self.center.to(dtype)) / temperature

    @torch.no_grad()
    def update(self, global_logits: Tensor) -> None:
        """Move the centre, in place, towards the mean over views and images of the joined batch.

        An empty batch moves nothing.

        Raises:
            ValueError: the shape or the dtype is not as above.
        """
        self._check(global_logits)
        rows = global_logits.detach().to(at_least_float32(global_logits, self.center))
        rows = rows.flatten(0, -2)
        count = rows.new_full((1,), rows.shape[0])
        sums = sum_over_group(torch.cat([rows.sum(0), count]), self.group)
        weight = (1.0 - self.momentum) * (sums[-1] > 0)
        mean = sums[:-1] / sums[-1].clamp_min(1)
        self.center.copy_(self.center.to(mean.dtype).lerp(mean, weight))

    def _check(self, global_logits: Tensor) -> None:
        check_floating("global_logits", global_logits)
        width = self.center.shape[1]
        if global_logits.ndim not in (2, 3) or global_logits.shape[-1] != width:
            raise ValueError(
                f"global_logits: expected shape (n, {width}) or (g, n, {width}), came "
                f"{tuple(global_logits.shape)}; pass one row an image."
            )
        if global_logits.device != self.center.device:
            raise ValueError(
                f"global_logits: expected the device of the centre, {self.center.device}, came "
                f"{global_logits.device}; move the loss with .to(global_logits.device)."
            )

    def extra_repr(self) -> str:
        return f"num_prototypes={self.center.shape[1]}, momentum={self.momentum:g}"


class Sinkhorn(Targets):
    """Balance the prototypes over the images of the joined batch, each global view by itself.

        loss = LocalToGlobalLoss(2048, targets=Sinkhorn(iterations=3))

    It holds no state; its targets are constants. See `functional.sinkhorn_log_assignment`.

    Args:
        iterations: number of scalings.
        group: processes whose images are balanced together; None means this process alone.

    Raises:
        ValueError: `iterations` is not positive.
    """

    constant = True

    def __init__(self, *, iterations: int = 3, group: ProcessGroup | None = None) -> None:
        super().__init__()
        check_count("iterations", iterations)
        self.iterations = iterations
        self.group = group

    def forward(self, global_logits: Tensor, *, temperature: float) -> Tensor:
        """(n, k) or (g, n, k) -> log-probabilities of the same shape, at least in float32."""
        return sinkhorn_log_assignment(
            global_logits, temperature=temperature, iterations=self.iterations, group=self.group
        )

    def extra_repr(self) -> str:
        return f"iterations={self.iterations}"
