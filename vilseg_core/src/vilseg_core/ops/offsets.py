"""Moments of probabilities that were taken less an offset, and back."""

import torch.nn.functional as F
from torch import Tensor


def restored(total: Tensor, low_p: Tensor, low_q: Tensor) -> Tensor:
    """Sum of w [p; 1] [q; 1]^T from that of w [p - low_p; 1] [q - low_q; 1]^T.

    Args:
        total: (..., c + 1, c + 1); its last row and column are the sums, its corner the mass.
        low_p: (..., c).
        low_q: (..., c).

    Returns:
        (..., c + 1, c + 1).
    """
    low_p, low_q = F.pad(low_p, (0, 1)), F.pad(low_q, (0, 1))
    sums_p, sums_q, mass = total[..., :, -1], total[..., -1, :], total[..., -1, -1, None]
    rows = low_p[..., :, None] * (sums_q + mass * low_q)[..., None, :]
    return total + rows + sums_p[..., :, None] * low_q[..., None, :]
