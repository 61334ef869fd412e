"""Local-to-global correspondence with its targets (Eq. 2)."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from vilseg_core._numerics import check_choice, check_count, check_positive
from vilseg_core.distributed import ProcessGroup
from vilseg_core.functional import local_to_global_cross_entropy
from vilseg_core.losses.targets import Centering, Sinkhorn, Targets, check_momentum

TARGETS: tuple[str, ...] = ("sinkhorn", "center", "none")


class LocalToGlobalLoss(nn.Module):
    """`functional.local_to_global_cross_entropy` with a way to keep its targets from collapsing.

    Eq. 2 alone is minimal when every image gives the same prototype. `targets="sinkhorn"` balances
    the prototypes over the batch; `"center"` subtracts a running mean of the global logits, which
    moves only when `update` is called; `"none"` is Eq. 2 (to the letter with both temperatures 1
    and `stop_gradient=False`). A `Targets` object of your own serves as well.

    Args:
        num_prototypes: k, the width of the logits.
        local_temperature: divides the local logits.
        global_temperature: divides the global logits.
        center_momentum: share of the old centre that an update keeps, for `"center"`.
        stop_gradient: whether the targets are constants; Sinkhorn's always are.
        targets: `"sinkhorn"`, `"center"`, `"none"`, or an object, which brings options and group
            of its own.
        sinkhorn_iterations: number of scalings, for `"sinkhorn"`.
        exclude_same: whether local view s and global view s are the same view, which is then not
            compared with itself.
        group: processes whose images are joined; None means this process alone.

    Raises:
        ValueError: an option is out of its range, or constant targets are asked for a gradient.
    """

    targets: Targets

    def __init__(
        self,
        num_prototypes: int,
        *,
        local_temperature: float = 0.1,
        global_temperature: float = 0.05,
        center_momentum: float = 0.9,
        stop_gradient: bool = True,
        targets: Literal["sinkhorn", "center", "none"] | Targets = "sinkhorn",
        sinkhorn_iterations: int = 3,
        exclude_same: bool = False,
        group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        check_count("num_prototypes", num_prototypes)
        check_positive("local_temperature", local_temperature)
        check_positive("global_temperature", global_temperature)
        check_count("sinkhorn_iterations", sinkhorn_iterations)
        check_momentum("center_momentum", center_momentum)
        if isinstance(targets, Targets):
            self.targets = targets
        else:
            check_choice("targets", targets, TARGETS)
            choices: dict[str, Callable[[], Targets]] = {
                "sinkhorn": lambda: Sinkhorn(iterations=sinkhorn_iterations, group=group),
                "center": lambda: Centering(num_prototypes, momentum=center_momentum, group=group),
                "none": Targets,
            }
            self.targets = choices[targets]()
        if self.targets.constant and not stop_gradient:
            raise ValueError(
                f"stop_gradient: expected True with {type(self.targets).__name__} targets, which "
                "are constants, came False; choose targets='center' or 'none' to keep the gradient."
            )
        self.num_prototypes = num_prototypes
        self.local_temperature = local_temperature
        self.global_temperature = global_temperature
        self.stop_gradient = stop_gradient
        self.exclude_same = exclude_same
        self.group = group

    def forward(self, local_logits: Tensor, global_logits: Tensor) -> Tensor:
        """(v, n, k), (n, k) or (g, n, k) -> 0-d loss in nats."""
        self._check_width("local_logits", local_logits)
        self._check_width("global_logits", global_logits)
        return local_to_global_cross_entropy(
            local_logits,
            self.targets(global_logits, temperature=self.global_temperature),
            local_temperature=self.local_temperature,
            global_temperature=1.0,
            stop_gradient=self.stop_gradient,
            exclude_same=self.exclude_same,
            group=self.group,
        )

    def update(self, global_logits: Tensor) -> None:
        """Let the targets take note of (n, k) or (g, n, k): a centre moves, the others do nothing.

        Raises:
            ValueError: the targets have a state and the shape is not as above.
        """
        self.targets.update(global_logits)

    def _check_width(self, name: str, logits: Tensor) -> None:
        if logits.ndim == 0 or logits.shape[-1] != self.num_prototypes:
            raise ValueError(
                f"{name}: expected {self.num_prototypes} prototypes in the last dimension, came "
                f"shape {tuple(logits.shape)}; project to num_prototypes first."
            )

    def extra_repr(self) -> str:
        return (
            f"num_prototypes={self.num_prototypes}, "
            f"local_temperature={self.local_temperature:g}, "
            f"global_temperature={self.global_temperature:g}, exclude_same={self.exclude_same}"
        )
