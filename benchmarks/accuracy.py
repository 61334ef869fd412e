"""How far each loss and its gradients are from float64: python -m benchmarks.accuracy.

Without a GPU the kernels run in Triton's interpreter, slowly: TRITON_INTERPRET=1 python -m
benchmarks.accuracy --loss mutual_information --images 4.

The error of a tensor is the norm of its difference from the truth over the norm of the truth. The
truth is the reference in float64 on the same numbers, so rounding the inputs to bfloat16 is no
error, and rounding the gradients to it is: 1.7e-3, which is the floor of the bfloat16 rows.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.limits import dtype_name
from benchmarks.loss_contenders import LossFunction, Unavailable, contenders
from benchmarks.loss_problems import LOSSES, InfoNCE, MutualInformation, Problem
from benchmarks.schema import Device

DTYPES = (torch.float32, torch.bfloat16)
DEVIATIONS = (0.05, 1.0, 4.0, 10.0, 28.0)
IMAGES = 64


@dataclass(frozen=True)
class Case:
    """A problem whose inputs are chosen for what is hard about them."""

    name: str
    problem: Problem
    inputs: Callable[[torch.Generator], tuple[Tensor, ...]]


def cases(dtype: torch.dtype, *, images: int = IMAGES) -> Iterator[Case]:
    """Of both losses; `images` are grids of 14 x 14 pixels."""
    for scale in (1 / 0.07, 50.0, 100.0):
        yield Case(f"matched pairs, scale {scale:.3g}", InfoNCE(512, 512, dtype), _pairs(scale))
    for clusters in (25, 128):
        for deviation in DEVIATIONS:
            yield Case(
                f"{clusters} clusters, logits of deviation {deviation:g}",
                MutualInformation(images * 14**2, clusters, dtype),
                _logits(clusters, deviation, images=images),
            )


def _pairs(scale: float) -> Callable[[torch.Generator], tuple[Tensor, ...]]:
    """An encoder that has learned its pairs: the two features of one are nearly the same."""

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        image, noise = torch.randn(2, 512, 512, generator=generator)
        return image, image + 0.1 * noise, torch.tensor(scale)

    return draw


def _logits(
    clusters: int, deviation: float, *, images: int
) -> Callable[[torch.Generator], tuple[Tensor, ...]]:
    """Two views that agree in half of their variance."""

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        shared, a, b = torch.randn(3, images, clusters, 14, 14, generator=generator) * deviation
        return (shared + a) * 0.5**0.5, (shared + b) * 0.5**0.5

    return draw


def errors(function: LossFunction, truth: LossFunction, inputs: Sequence[Tensor]) -> list[float]:
    """Relative error of the loss, then of the gradient of each input; nan where there is none."""
    found = _value_and_gradients(function, inputs)
    exact = _value_and_gradients(truth, [x.double() for x in inputs])
    return [_error(a, b) for a, b in zip(found, exact, strict=True)]


def _value_and_gradients(function: LossFunction, inputs: Sequence[Tensor]) -> list[Tensor | None]:
    leaves = [x.detach().requires_grad_() for x in inputs]
    loss = function(*leaves)
    return [loss.detach(), *torch.autograd.grad(loss, leaves, allow_unused=True)]


def _error(found: Tensor | None, exact: Tensor | None) -> float:
    if found is None or exact is None:
        return float("nan")
    return float((found.double() - exact).norm() / exact.norm())


def report(
    dtype: torch.dtype, *, losses: Sequence[str], images: int, device: Device, seed: int
) -> Iterator[Table]:
    """A table for each loss: every case with every implementation that can run it."""
    tables: dict[str, Table] = {}
    absent: dict[str, str] = {}
    for case in cases(dtype, images=images):
        if case.problem.loss not in losses:
            continue
        drawn = case.inputs(torch.Generator().manual_seed(seed))
        # The scale is a parameter, not a feature: it keeps its dtype.
        inputs = [x.to(device, dtype if x.ndim else x.dtype) for x in drawn]
        field = [one for one in contenders(case.problem, compiled=False) if one.comparable]
        truth = next(one.build() for one in field if one.name == "vilseg reference")
        if case.problem.loss not in tables:
            tables[case.problem.loss] = _table(case.problem.loss, dtype, gradients=len(inputs))
        table = tables[case.problem.loss]
        table.add_section()
        for contender in field:
            try:
                found = errors(contender.build(), truth, inputs)
            except (Unavailable, ValueError) as error:
                absent[contender.name] = str(error).split(";")[0]
                continue
            table.add_row(case.name, contender.name, *(f"{value:.1e}" for value in found))
    for table in tables.values():
        table.caption = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
        yield table


def _table(loss: str, dtype: torch.dtype, *, gradients: int) -> Table:
    table = Table("case", "implementation", "loss", title=f"{loss}, {dtype_name(dtype)}")
    for name in ("first", "second", "scale")[:gradients]:
        table.add_column(f"gradient, {name}")
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--loss", choices=LOSSES, nargs="+", default=LOSSES)
    parser.add_argument("--images", type=int, default=IMAGES, help="grids of 14 x 14 pixels")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    console = Console()
    if not console.is_terminal:
        console.width = 140
    for dtype in DTYPES:
        for table in report(
            dtype, losses=given.loss, images=given.images, device=given.device, seed=given.seed
        ):
            console.print(table)


if __name__ == "__main__":
    main()
