"""Who is measured on each loss: what vilseg offers, and its peers.

Every function takes the inputs of a problem and gives a 0-d loss. Inputs have any norm, so peers
that expect unit rows get them normalised inside the measured call.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.loss_problems import SCALE, MutualInformation, Problem
from vilseg_core import functional, ops

LossFunction = Callable[..., Tensor]


class Unavailable(Exception):
    """This contender cannot take part; the message is the reason."""


@dataclass(frozen=True)
class Contender:
    """`build` gives the function or raises `Unavailable`; `needs` estimates its peak in bytes.

    `comparable` says whether the value is that of vilseg's loss, so that it can be checked.
    """

    name: str
    origin: Literal["vilseg", "peer"]
    build: Callable[[], LossFunction]
    needs: Callable[[Problem], int] = lambda _: 0
    comparable: bool = True


def contenders(problem: Problem, *, compiled: bool) -> list[Contender]:
    """Everyone for this loss, vilseg's own first; `compiled` says whether torch.compile runs."""
    if isinstance(problem, MutualInformation):
        eager = eager_mutual_information
        return [
            *(Contender(f"vilseg {name}", "vilseg", partial(_vilseg_mi, name)) for name in named()),
            Contender("torch eager", "peer", lambda: eager),
            Contender("torch.compile", "peer", partial(_compile, eager, wanted=compiled)),
            Contender("IIC formula", "peer", lambda: iic_mutual_information, needs=_needs_ncc),
        ]
    return [
        *(
            Contender(f"vilseg {name}", "vilseg", partial(_vilseg_nce, name), _needs_vilseg(name))
            for name in named()
        ),
        Contender("torch eager", "peer", lambda: eager_info_nce, _needs_nn),
        Contender(
            "torch.compile", "peer", partial(_compile, eager_info_nce, wanted=compiled), _needs_nn
        ),
        Contender("torch linear_cross_entropy", "peer", _linear_cross_entropy),
        Contender("open_clip", "peer", _open_clip, _needs_nn),
        Contender("lightly NT-Xent", "peer", _lightly, _needs_2n2n, comparable=False),
        Contender("info-nce-pytorch", "peer", _info_nce_pytorch, _needs_nn),
    ]


def named() -> tuple[str, ...]:
    """The implementations that the dispatcher knows by name; some may be refused on a problem."""
    return tuple(name for name in get_args(ops.Implementation) if name != "auto")


def eager_mutual_information(logits_a: Tensor, logits_b: Tensor) -> Tensor:
    """Softmax, softmax, matrix product, sum J (ln J - ln J_row - ln J_col)."""
    a, b = _rows(logits_a), _rows(logits_b)
    return _information_loss(a.T @ b / a.shape[0])


def iic_mutual_information(logits_a: Tensor, logits_b: Tensor) -> Tensor:
    """IIC's joint, the sum of a tensor (n, c, c); left unsymmetrised, so that values compare."""
    a, b = _rows(logits_a), _rows(logits_b)
    return _information_loss((a[:, :, None] * b[:, None, :]).sum(0) / a.shape[0])


def eager_info_nce(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Two cross-entropies over one matrix of scores in the dtype of the features."""
    scores = scale * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
    labels = torch.arange(scores.shape[0], device=scores.device)
    return (F.cross_entropy(scores, labels) + F.cross_entropy(scores.T, labels)) / 2


def _rows(logits: Tensor) -> Tensor:
    return logits.softmax(1, dtype=torch.float32).movedim(1, -1).reshape(-1, logits.shape[1])


def _information_loss(joint: Tensor) -> Tensor:
    marginals = joint.sum(1, keepdim=True).log() + joint.sum(0, keepdim=True).log()
    return -(joint * (joint.log() - marginals)).sum()


def _vilseg_mi(name: Any) -> LossFunction:
    return partial(functional.mutual_information_loss, impl=name)


def _vilseg_nce(name: Any) -> LossFunction:
    def loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        return functional.symmetric_info_nce(image, text, logit_scale=scale, impl=name)

    return loss


def _compile(function: LossFunction, *, wanted: bool) -> LossFunction:
    if not wanted:
        raise Unavailable("compiling takes a while; pass --compile")
    torch.compiler.reset()
    return torch.compile(function, fullgraph=True, dynamic=False)


def _linear_cross_entropy() -> LossFunction:
    if not hasattr(F, "linear_cross_entropy"):
        raise Unavailable("this torch has no torch.nn.functional.linear_cross_entropy")
    options = torch.nn.LinearCrossEntropyOptions()

    def loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        image, text = F.normalize(image, dim=1), F.normalize(text, dim=1)
        labels = torch.arange(image.shape[0], device=image.device)
        rows = F.linear_cross_entropy(image * scale, text, labels, options=options)
        columns = F.linear_cross_entropy(text * scale, image, labels, options=options)
        return (rows + columns) / 2

    return loss


def _open_clip() -> LossFunction:
    module = _installed("open_clip.loss", package="open-clip-torch").ClipLoss()

    def loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        result: Tensor = module(F.normalize(image, dim=1), F.normalize(text, dim=1), scale)
        return result

    return loss


def _lightly() -> LossFunction:
    """Its own loss: 2n anchors, each against the 2n - 1 others of both towers; fixed scale."""
    module = _installed("lightly.loss", package="lightly").NTXentLoss(temperature=1 / SCALE)

    def loss(image: Tensor, text: Tensor, _scale: Tensor) -> Tensor:
        result: Tensor = module(image, text)
        return result

    return loss


def _info_nce_pytorch() -> LossFunction:
    """One direction a call, normalises inside, fixed scale."""
    info_nce = _installed("info_nce", package="info-nce-pytorch").info_nce

    def loss(image: Tensor, text: Tensor, _scale: Tensor) -> Tensor:
        rows: Tensor = info_nce(image, text, temperature=1 / SCALE)
        columns: Tensor = info_nce(text, image, temperature=1 / SCALE)
        return (rows + columns) / 2

    return loss


def _installed(module: str, *, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise Unavailable(f"not installed; pip install {package}") from None


def _needs_vilseg(name: str) -> Callable[[Problem], int]:
    """The reference holds matrices (n, n); every other implementation promises not to."""
    return _needs_nn if name == "reference" else lambda _: 0


def _needs_nn(problem: Problem) -> int:
    """Six matrices (n, n) in float32: scores, softmaxes and gradients of both directions."""
    return 24 * problem.sizes["n"] ** 2


def _needs_2n2n(problem: Problem) -> int:
    return 4 * _needs_nn(problem)


def _needs_ncc(problem: Problem) -> int:
    """Two tensors (n, c, c) in float32: the product and its gradient."""
    return 8 * problem.sizes["n"] * problem.sizes["c"] ** 2
