"""Mutual information of cluster assignments as a loss (Eq. 8)."""

from torch import Tensor, nn

from vilseg_core.distributed import ProcessGroup
from vilseg_core.functional import mutual_information_loss
from vilseg_core.functional.mutual_information import check_entropy_weight
from vilseg_core.ops import Implementation, check_implementation


class MutualInformationLoss(nn.Module):
    """`functional.mutual_information_loss` with its options; it holds no state.

    Args:
        channel_dim: the dimension of the clusters.
        entropy_weight: weight of the entropies of the marginals; 1 is Eq. 8, more (1.1 to 1.2)
            favours balanced clusters.
        symmetric: whether the joint is averaged with its transpose.
        group: processes whose pixels are joined; None means this process alone.
        impl: which implementation runs.

    Raises:
        ValueError: `entropy_weight` is not finite, or `impl` is not known.
    """

    def __init__(
        self,
        *,
        channel_dim: int = 1,
        entropy_weight: float = 1.0,
        symmetric: bool = False,
        group: ProcessGroup | None = None,
        impl: Implementation = "auto",
    ) -> None:
        super().__init__()
        check_entropy_weight(entropy_weight)
        check_implementation(impl)
        self.channel_dim = channel_dim
        self.entropy_weight = entropy_weight
        self.symmetric = symmetric
        self.group = group
        self.impl: Implementation = impl

    def forward(self, logits_a: Tensor, logits_b: Tensor, mask: Tensor | None = None) -> Tensor:
        """Two tensors of logits of one shape, one weight a pixel -> 0-d loss in nats."""
        return mutual_information_loss(
            logits_a,
            logits_b,
            channel_dim=self.channel_dim,
            mask=mask,
            entropy_weight=self.entropy_weight,
            symmetric=self.symmetric,
            group=self.group,
            impl=self.impl,
        )

    def extra_repr(self) -> str:
        return (
            f"channel_dim={self.channel_dim}, entropy_weight={self.entropy_weight:g}, "
            f"symmetric={self.symmetric}, impl={self.impl!r}"
        )
