"""Mutual information of cluster assignments as a loss (Eq. 8)."""

from typing import Literal, overload

from torch import Tensor, nn

from vilseg_core.distributed import ProcessGroup
from vilseg_core.functional import InformationStatistics, mutual_information_loss
from vilseg_core.functional._pixels import check_displacement
from vilseg_core.functional.mutual_information import check_entropy_weight
from vilseg_core.ops import Implementation, check_implementation


class MutualInformationLoss(nn.Module):
    """`functional.mutual_information_loss` with its options; it holds no state.

    Args:
        channel_dim: the dimension of the clusters.
        entropy_weight: weight of the entropies of the marginals; 1 is Eq. 8, more (1.1 to 1.2)
            favours balanced clusters.
        symmetric: whether the joint is averaged with its transpose.
        displacement: largest displacement of paired pixels, in pixels; 0 pairs each with itself.
        head_dim: the dimension of several sub-heads; None for one head.
        group: processes whose pixels are joined; None means this process alone.
        impl: which implementation runs.

    Raises:
        ValueError: `entropy_weight` is not finite, `displacement` is no number of pixels, or
            `impl` is not known.
    """

    def __init__(
        self,
        *,
        channel_dim: int = 1,
        entropy_weight: float = 1.0,
        symmetric: bool = False,
        displacement: int = 0,
        head_dim: int | None = None,
        group: ProcessGroup | None = None,
        impl: Implementation = "auto",
    ) -> None:
        super().__init__()
        check_entropy_weight(entropy_weight)
        check_displacement(displacement)
        check_implementation(impl)
        self.channel_dim = channel_dim
        self.entropy_weight = entropy_weight
        self.symmetric = symmetric
        self.displacement = displacement
        self.head_dim = head_dim
        self.group = group
        self.impl: Implementation = impl

    @overload
    def forward(
        self,
        logits_a: Tensor,
        logits_b: Tensor,
        mask: Tensor | None = None,
        *,
        return_statistics: Literal[False] = False,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        logits_a: Tensor,
        logits_b: Tensor,
        mask: Tensor | None = None,
        *,
        return_statistics: Literal[True],
    ) -> tuple[Tensor, InformationStatistics]: ...

    def forward(
        self,
        logits_a: Tensor,
        logits_b: Tensor,
        mask: Tensor | None = None,
        *,
        return_statistics: bool = False,
    ) -> Tensor | tuple[Tensor, InformationStatistics]:
        """Two tensors of logits of one shape, one weight a pixel -> 0-d loss in nats.

        The arguments are those of `functional.mutual_information_loss`.
        """
        return mutual_information_loss(
            logits_a,
            logits_b,
            channel_dim=self.channel_dim,
            mask=mask,
            entropy_weight=self.entropy_weight,
            symmetric=self.symmetric,
            displacement=self.displacement,
            head_dim=self.head_dim,
            return_statistics=return_statistics,
            group=self.group,
            impl=self.impl,
        )

    def extra_repr(self) -> str:
        return (
            f"channel_dim={self.channel_dim}, entropy_weight={self.entropy_weight:g}, "
            f"symmetric={self.symmetric}, displacement={self.displacement}, "
            f"head_dim={self.head_dim}, impl={self.impl!r}"
        )
