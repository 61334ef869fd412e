"""What each process of the distributed tests runs; a module of its own, to be spawned."""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vilseg_core import (
    LocalToGlobalLoss,
    MutualInformationLoss,
    SigmoidContrastiveLoss,
    SymmetricInfoNCE,
    distributed,
)
from vilseg_core.distributed import rows_of_ranks
from vilseg_core.functional import sinkhorn_log_assignment
from vilseg_core.layers.joined_norm import JoinedBatchNorm
from vilseg_core.losses import Centering
from vilseg_core.ops import Implementation
from vilseg_core.ops.dispatch import HAS_TRITON

LOSSES = (
    "info_nce",
    "info_nce_chunked",
    "info_nce_one_way",
    "info_nce_one_way_chunked",
    "info_nce_other_way_chunked",
    "info_nce_ids",
    "info_nce_valid",
    "info_nce_smoothing",
    "info_nce_negatives",
    "info_nce_ids_valid_smoothing_negatives",
    "info_nce_ids_valid_smoothing_negatives_chunked",
    "info_nce_one_way_ids_valid_smoothing_negatives",
    "info_nce_other_way_ids_valid_smoothing_negatives",
    "sigmoid",
    "sigmoid_chunked",
    "sigmoid_ids_valid",
    "sigmoid_ids_valid_chunked",
    "information",
    "information_masked",
    "information_masked_chunked",
    "information_masked_heads",
    "information_masked_heads_chunked",
    "information_masked_displaced",
    "information_normalised",
    "prototypes_sinkhorn",
    "prototypes_center",
    "prototypes_none",
    "prototypes_none_pairs",
    "prototypes_sinkhorn_pairs",
)


GRID = torch.tensor([[1.0, 0.5, 0.0], [2.0, -1.0, 0.3]])

# In float32, which is what they compute in.
KERNELS = ("info_nce_triton", "information_masked_triton") if HAS_TRITON else ()


class Towers(nn.Module):
    """Linear towers and a loss over their outputs: every parameter that a step would move."""

    def __init__(self, name: str, *, group: dist.ProcessGroup | None) -> None:
        super().__init__()
        self.name = name
        self.first = nn.Linear(4, 5).double()
        # The two views of the prototypes come from one tower, the targets without a gradient.
        shared = name.startswith("prototypes")
        self.second = self.first if shared else nn.Linear(4, 5).double()
        self.loss = build(name, group=group).double()
        self.norm = JoinedBatchNorm(5, group=group).double()

    def forward(self, first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
        a, b = self.first(first), self.second(second)
        if "heads" in self.name:
            # (n, heads, c): the second head sees the clusters in another order.
            a, b = torch.stack([a, 2 * a], dim=1), torch.stack([b, b.flip(1)], dim=1)
        if "normalised" in self.name:
            # Pixels of two rows, by the statistics of all ranks.
            a, b = (self.norm(x[:, :, None, None]).flatten(1) for x in (a, b))
        if "displaced" in self.name:
            # Each row is a grid of 2 x 3 pixels with one mask.
            a, b = (x[:, :, None, None] * GRID.to(x) for x in (a, b))
            mask = mask[:, None, None] * GRID.to(mask).abs()
        if self.name.startswith("prototypes"):
            a = torch.stack([a, a.flip(1)])
        if self.name.endswith("pairs"):
            b = torch.stack([b, b.flip(1) / 2])
        extra = (mask,) if self.name.startswith("information_masked") else ()
        loss: Tensor = self.loss(a, b, *extra, **self.options(first, second, mask))
        return loss

    def options(self, first: Tensor, second: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Of the contrastive losses; the negatives go through the towers as well."""
        options = {}
        if "ids" in self.name:
            # Shared within a rank and across ranks.
            options["ids"] = (mask * 4).long() % 3
        if "valid" in self.name:
            options["valid"] = mask > 0.3
        if "negatives" in self.name:
            options["image_negatives"] = self.first(second)
            options["text_negatives"] = self.second(torch.cat([first, second]))
        return options


def implementation(name: str) -> Implementation:
    if name.endswith("triton"):
        return "triton"
    return "chunked" if name.endswith("chunked") else "reference"


def build(name: str, *, group: dist.ProcessGroup | None) -> nn.Module:
    kind, _, option = name.partition("_")
    if name.startswith("info_nce"):
        ways = {"one_way": "image_to_text", "other_way": "text_to_image"}
        direction: Any = next((way for key, way in ways.items() if key in name), "both")
        return SymmetricInfoNCE(
            0.3,
            direction=direction,
            label_smoothing=0.2 if "smoothing" in name else 0.0,
            group=group,
            impl=implementation(name),
        )
    if kind == "sigmoid":
        return SigmoidContrastiveLoss(0.3, bias=-1.0, group=group, impl=implementation(name))
    if kind == "information":
        return MutualInformationLoss(
            channel_dim=2 if "heads" in name else 1,
            head_dim=1 if "heads" in name else None,
            displacement=int("displaced" in name),
            entropy_weight=1.2,
            symmetric="masked" in name,
            group=group,
            impl=implementation(name),
        )
    targets: Any = option.removesuffix("_pairs")
    loss = LocalToGlobalLoss(
        5,
        local_temperature=0.5,
        global_temperature=0.4,
        targets=targets,
        stop_gradient=targets == "sinkhorn",
        exclude_same=name.endswith("pairs"),
        group=group,
    )
    if isinstance(loss.targets, Centering):
        loss.targets.center += torch.linspace(-1, 1, 5)
    return loss


def batch(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The joined batch; the ranks take consecutive parts of it."""
    generator = torch.Generator().manual_seed(7)
    numbers = torch.randn(size, 9, dtype=torch.float64, generator=generator)
    return numbers[:, :4], numbers[:, 4:8], numbers[:, 8].abs()


def measure(
    name: str,
    inputs: tuple[Tensor, ...],
    *,
    group: dist.ProcessGroup | None,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """Value, gradients of the parameters as a step would see them, gradients of the inputs."""
    torch.manual_seed(0)
    towers = Towers(name, group=group).to(dtype)
    # DDP's own averaging, where there is something to average over.
    model: nn.Module = towers
    if group is not None:
        model = DistributedDataParallel(towers, process_group=group, broadcast_buffers=False)
    first, second, mask = (x.to(dtype, copy=True).requires_grad_() for x in inputs)
    loss = model(first, second, mask)
    torch.autograd.backward(loss)
    found = {"value": loss.detach()}
    for key, parameter in towers.named_parameters():
        assert parameter.grad is not None, key
        found[key] = parameter.grad
    ranks = 1 if group is None else dist.get_world_size(group)
    for key, x in (("inputs.first", first), ("inputs.second", second), ("inputs.mask", mask)):
        found[key] = torch.zeros_like(x) if x.grad is None else x.grad / ranks
    return found


def statistics(
    rows: Tensor, others: Tensor, mask: Tensor, *, group: dist.ProcessGroup | None
) -> dict[str, Tensor]:
    """What carries no gradient: Sinkhorn's assignment, the centre after an update, accuracies."""
    targets = Centering(4, momentum=0.5, group=group).double()
    targets.update(rows)
    assignment = sinkhorn_log_assignment(rows, temperature=0.3, group=group)
    norm = JoinedBatchNorm(4, group=group).double()
    norm(rows[:, :, None, None])
    assert norm.running_mean is not None
    assert norm.running_var is not None
    found = {
        "center": targets.center,
        "assignment": assignment,
        "running_mean": norm.running_mean,
        "running_variance": norm.running_var,
    }
    every_option = {
        "ids": (mask * 4).long() % 3,
        "valid": mask > 0.3,
        "image_negatives": others.flip(1),
        "text_negatives": rows.flip(1),
    }
    for name, options in (("plain", {}), ("options", every_option)):
        for impl in ("reference", "chunked"):
            contrast = SymmetricInfoNCE(direction="text_to_image", group=group, impl=impl)
            statistics = contrast(rows, others, **options, return_statistics=True)[1]
            found[f"contrast_{name}_{impl}"] = torch.stack(list(statistics))
    return found


def scattered(count: int, *, group: dist.ProcessGroup) -> dict[str, Tensor]:
    """The backward pass of shared rows by way of each collective; every rank's part differs."""
    ranks = rows_of_ranks(torch.ones(count, 2), group)
    joined = torch.arange(2.0 * ranks.total).reshape(-1, 2) * 10 ** dist.get_rank(group)
    found = {"reduced": distributed._sum_to_owners(joined, group, ranks)}
    with contextlib.suppress(RuntimeError):
        # Not in gloo of every torch.
        found["scattered"] = distributed._reduce_scatter(joined, group, ranks)
    return found


def _update(outsiders: dist.ProcessGroup) -> None:
    Centering(2, group=outsiders).update(torch.eye(2))


UPDATES: dict[str, Callable[[dist.ProcessGroup], object]] = {
    "centring": _update,
    "sinkhorn": lambda group: sinkhorn_log_assignment(torch.eye(2), temperature=1.0, group=group),
}


def second_derivative(group: dist.ProcessGroup) -> str:
    """What is said where one is asked for over a group."""
    image, text = (torch.eye(3).requires_grad_() for _ in range(2))
    loss = SymmetricInfoNCE(group=group, impl="reference")(image, text)
    (first,) = torch.autograd.grad(loss, image, create_graph=True)
    try:
        torch.autograd.backward(first.square().sum())
    except RuntimeError as error:
        return str(error)
    return "not refused"


def refusals(outsiders: dist.ProcessGroup) -> str:
    """What a rank outside of a group hears when it asks for the group's losses, a line each."""
    calls: dict[str, Callable[[], object]] = {
        f"targets of {kind}": partial(update, outsiders) for kind, update in UPDATES.items()
    }
    for name in LOSSES:
        towers = Towers(name, group=outsiders)
        calls[name] = partial(towers, *batch(4))
    lines = []
    for name, call in calls.items():
        try:
            call()
            lines.append(f"{name}: not refused")
        except ValueError as error:
            lines.append(f"{name}: {error}")
    return "\n".join(lines)


def run(rank: int, sizes: tuple[int, ...], folder: Path) -> None:
    """One process: measure every loss on this rank's part of the batch, save what was found."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=len(sizes)
    )
    start = sum(sizes[:rank])
    part = slice(start, start + sizes[rank])
    first, second, mask = (x[part] for x in batch(sum(sizes)))
    group = dist.group.WORLD
    found = {name: measure(name, (first, second, mask), group=group) for name in LOSSES}
    for name in KERNELS:
        inputs = first, second, mask
        found[name] = measure(name, inputs, group=group, dtype=torch.float32)
    found["statistics"] = statistics(first, second, mask, group=group)
    found["scattered"] = scattered(sizes[rank], group=cast(dist.ProcessGroup, group))
    text = second_derivative(cast(dist.ProcessGroup, group))
    (folder / f"{rank}.second.txt").write_text(text, encoding="utf-8")
    first_alone = dist.new_group([0])
    if rank > 0:
        text = refusals(cast(dist.ProcessGroup, first_alone))
        (folder / f"{rank}.txt").write_text(text, encoding="utf-8")
    torch.save(found, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
