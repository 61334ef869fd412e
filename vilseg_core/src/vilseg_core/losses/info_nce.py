"""Image-text contrast with its temperature (Eq. 3 and 4)."""

from typing import Literal, overload

from torch import Tensor

from vilseg_core._numerics import check_choice
from vilseg_core.distributed import ProcessGroup
from vilseg_core.functional import ContrastStatistics, symmetric_info_nce
from vilseg_core.functional.info_nce import DIRECTIONS, Direction, check_smoothing
from vilseg_core.losses._logit_scale import LogitScale
from vilseg_core.ops import Implementation, check_implementation


class SymmetricInfoNCE(LogitScale):
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
        label_smoothing: share of the target that is spread evenly over all candidates.
        group: processes whose batches are joined; None means this process alone.
        impl: which implementation runs.

    Raises:
        ValueError: a number is out of its range, or 1 / temperature is above `max_scale`.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        *,
        learnable: bool = True,
        max_scale: float = 100.0,
        direction: Direction = "both",
        label_smoothing: float = 0.0,
        group: ProcessGroup | None = None,
        impl: Implementation = "auto",
    ) -> None:
        super().__init__(temperature, learnable=learnable, max_scale=max_scale)
        check_choice("direction", direction, DIRECTIONS)
        check_smoothing(label_smoothing)
        check_implementation(impl)
        self.direction: Direction = direction
        self.label_smoothing = label_smoothing
        self.group = group
        self.impl: Implementation = impl

    @overload
    def forward(
        self,
        image: Tensor,
        text: Tensor,
        *,
        ids: Tensor | None = None,
        valid: Tensor | None = None,
        image_negatives: Tensor | None = None,
        text_negatives: Tensor | None = None,
        return_statistics: Literal[False] = False,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        image: Tensor,
        text: Tensor,
        *,
        ids: Tensor | None = None,
        valid: Tensor | None = None,
        image_negatives: Tensor | None = None,
        text_negatives: Tensor | None = None,
        return_statistics: Literal[True],
    ) -> tuple[Tensor, ContrastStatistics]: ...

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        *,
        ids: Tensor | None = None,
        valid: Tensor | None = None,
        image_negatives: Tensor | None = None,
        text_negatives: Tensor | None = None,
        return_statistics: bool = False,
    ) -> Tensor | tuple[Tensor, ContrastStatistics]:
        """(n, d), (n, d) of any norm, row m of both being one pair -> 0-d loss in nats.

        The keywords are those of `functional.symmetric_info_nce`.
        """
        return symmetric_info_nce(
            image,
            text,
            logit_scale=self.scale(),
            direction=self.direction,
            ids=ids,
            valid=valid,
            label_smoothing=self.label_smoothing,
            image_negatives=image_negatives,
            text_negatives=text_negatives,
            group=self.group,
            impl=self.impl,
            return_statistics=return_statistics,
        )

    def extra_repr(self) -> str:
        return (
            f"max_scale={self.max_scale:g}, direction={self.direction!r}, "
            f"label_smoothing={self.label_smoothing:g}, impl={self.impl!r}"
        )
