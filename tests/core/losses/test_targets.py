"""Targets of the local-to-global loss: what they give, when they move, what they refuse."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vilseg_core import LocalToGlobalLoss, functional
from vilseg_core.losses import Centering, Sinkhorn, Targets


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_centre_moves_when_told_and_only_then() -> None:
    target = logits(3, 6) + 2
    targets = Centering(6, momentum=0.75).double()
    buffer = targets.center
    before = targets(target, temperature=0.5)
    torch.testing.assert_close(before, target / 0.5)
    assert torch.equal(targets.center, torch.zeros(1, 6, dtype=torch.float64))
    targets.update(target)
    assert targets.center is buffer
    torch.testing.assert_close(targets.center, 0.25 * target.mean(0, keepdim=True))
    targets.update(target)
    torch.testing.assert_close(targets.center, (1 - 0.75**2) * target.mean(0, keepdim=True))
    torch.testing.assert_close(targets(target, temperature=0.5), (target - targets.center) / 0.5)
    moved = targets.center.clone()
    targets.update(target[:0])
    assert torch.equal(targets.center, moved)


def test_a_centre_of_several_views_is_their_mean() -> None:
    views = logits(2, 3, 6)
    together, joined = Centering(6).double(), Centering(6).double()
    together.update(views)
    joined.update(views.flatten(0, 1))
    assert torch.equal(together.center, joined.center)
    torch.testing.assert_close(together.center, 0.1 * views.mean((0, 1)).unsqueeze(0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_centre_is_summed_in_float32(dtype: torch.dtype) -> None:
    targets = Centering(4, momentum=0.0).to(dtype)
    targets.update(torch.full((7001, 4), 100.0, dtype=dtype))
    assert torch.equal(targets.center, torch.full((1, 4), 100.0, dtype=dtype))
    assert targets(torch.ones(2, 4, dtype=dtype), temperature=0.1).dtype == torch.float32


def test_a_centre_takes_no_gradient_and_leaves_the_graph_alone() -> None:
    target = logits(3, 6).requires_grad_()
    targets = Centering(6).double()
    loss = LocalToGlobalLoss(6, targets=targets, stop_gradient=False).double()
    value = loss(logits(2, 3, 6), target)
    targets.update(target)
    assert not targets.center.requires_grad
    (gradient,) = torch.autograd.grad(value, target)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("words", "targets"),
    [
        ({"targets": "sinkhorn", "sinkhorn_iterations": 2}, Sinkhorn(iterations=2)),
        ({"targets": "center", "center_momentum": 0.5}, Centering(6, momentum=0.5)),
        ({"targets": "none"}, Targets()),
    ],
)
def test_a_word_stands_for_an_object(words: dict[str, Any], targets: Targets) -> None:
    local, target = logits(3, 5, 6), logits(2, 5, 6, seed=1)
    named, composed = LocalToGlobalLoss(6, **words), LocalToGlobalLoss(6, targets=targets)
    for loss in (named, composed):
        loss.update(target)
    assert type(named.targets) is type(targets)
    torch.testing.assert_close(named(local, target), composed(local, target))
    assert named.state_dict().keys() == composed.state_dict().keys()
    assert set(named.state_dict()) == ({"targets.center"} if "center" in words.values() else set())


def test_the_centre_is_the_functions_centre() -> None:
    local, target = logits(2, 3, 6), logits(3, 6, seed=1)
    loss = LocalToGlobalLoss(6, targets="center", exclude_same=True).double()
    loss.update(target)
    assert isinstance(loss.targets, Centering)
    truth = functional.local_to_global_cross_entropy(
        local,
        target,
        local_temperature=0.1,
        global_temperature=0.05,
        center=loss.targets.center,
        exclude_same=True,
    )
    torch.testing.assert_close(loss(local, target), truth)


class Hard(Targets):
    """Somebody else's targets: the first choice of each image."""

    constant = True

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, global_logits: Tensor, *, temperature: float) -> Tensor:
        del temperature
        sure = torch.full_like(global_logits, -math.inf)
        return sure.scatter(-1, global_logits.argmax(-1, keepdim=True), 0.0)

    def update(self, global_logits: Tensor) -> None:
        self.seen += len(global_logits)


def test_targets_of_ones_own() -> None:
    local, target = logits(2, 3, 6), logits(3, 6, seed=1)
    targets = Hard()
    loss = LocalToGlobalLoss(6, local_temperature=1.0, targets=targets)
    truth = torch.nn.functional.cross_entropy(
        local.flatten(0, 1), target.argmax(-1).repeat(2), reduction="mean"
    )
    torch.testing.assert_close(loss(local, target), truth)
    loss.update(target)
    assert targets.seen == 3
    with pytest.raises(ValueError, match=r"stop_gradient: expected True with Hard targets"):
        LocalToGlobalLoss(6, targets=targets, stop_gradient=False)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 5), r"global_logits: expected shape \(n, 6\) or \(g, n, 6\), came \(3, 5\); pass"),
        ((6,), r"came \(6,\)"),
        ((1, 1, 3, 6), r"came \(1, 1, 3, 6\)"),
    ],
)
def test_a_centre_refuses_other_shapes(shape: tuple[int, ...], message: str) -> None:
    targets = Centering(6)
    with pytest.raises(ValueError, match=message):
        targets.update(torch.ones(shape))
    with pytest.raises(ValueError, match=message):
        targets(torch.ones(shape), temperature=0.1)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"num_prototypes: expected a positive .* came 0"):
        Centering(0)
    with pytest.raises(ValueError, match=r"momentum: expected 0 <= momentum < 1, came 1.0; 0.9 is"):
        Centering(6, momentum=1.0)
    with pytest.raises(ValueError, match=r"iterations: expected a positive .* came 0"):
        Sinkhorn(iterations=0)
    with pytest.raises(ValueError, match=r"global_logits: .* came torch.int64"):
        Centering(6).update(torch.ones(3, 6, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"the device of the centre, cpu, came meta; move the"):
        Centering(6).update(torch.ones(3, 6, device="meta"))
