"""Batch normalisation over the pixels of every process.

b = images, d = channels, (h, w) = grid, W = processes.
"""

import torch
from torch import Tensor, nn

from vilseg_core._numerics import at_least_float32, without_autocast
from vilseg_core.distributed import ProcessGroup, share_rows, world_size


class JoinedBatchNorm(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` without scale and shift, by the statistics of the joined batch.

    With a group it keeps the gradient contract of the losses on any device and for batches of
    different sizes, empty ones included; torch's `SyncBatchNorm` needs a GPU. Without one, and at
    inference, it is torch's own.

    Args:
        channels: d.
        group: processes whose batches are joined; None means this process alone.
    """

    def __init__(self, channels: int, *, group: ProcessGroup | None = None) -> None:
        super().__init__(channels, affine=False)
        self.group = group

    def forward(self, input: Tensor) -> Tensor:
        """(b, d, h, w) -> the same shape."""
        if not self.training or world_size(self.group) == 1:
            normalised: Tensor = super().forward(input)
            return normalised
        with without_autocast(input):
            values = input.to(at_least_float32(input))
            count = values.new_full((1,), float(values[:, 0].numel()))
            total = self._sum(torch.cat([values.sum((0, 2, 3)), count]))
            count = total[-1].detach().clamp_min(1)
            mean = total[:-1] / count
            centred = values - mean[:, None, None]
            variance = self._sum(centred.square().sum((0, 2, 3))) / count
            self._follow(mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
            scale = (variance + self.eps).rsqrt()
            return (centred * scale[:, None, None]).to(input.dtype)

    def _sum(self, values: Tensor) -> Tensor:
        # Each rank normalises its own pixels by the sums: their gradients differ and are joined.
        return share_rows(values[None], self.group).sum(0)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var), self.momentum)
