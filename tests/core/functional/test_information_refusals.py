"""Arguments that the mutual information refuses, each by the text of its message."""

import math
from typing import Any

import pytest
import torch

from vilseg_core.functional import joint_matrix, mutual_information_loss

GRID = torch.zeros(2, 3, 4, 4)
ELSEWHERE = torch.zeros(2, 3, 4, 4, device="meta")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"logits_b": GRID[:1]},
            r"logits_b: expected one shape, came \(2, 3, 4, 4\) and \(1, 3, 4, 4\); position i",
        ),
        (
            {"logits_a": torch.zeros(5), "logits_b": torch.zeros(5)},
            r"a channel dimension and at least one of pixels, came shape \(5,\); pass \(n, c\)",
        ),
        ({"logits_a": GRID.int()}, r"logits_a: .* came torch.int32; convert it with logits_a"),
        ({"logits_b": GRID.bool()}, r"logits_b: .* came torch.bool; convert it with logits_b"),
        ({"logits_b": GRID.to(torch.complex64)}, r"logits_b: .* came torch.complex64"),
        (
            {"logits_b": ELSEWHERE},
            r"logits_a, logits_b: expected one device, came cpu and meta; move one",
        ),
        ({"channel_dim": 4}, r"channel_dim: .* came 4; pass the dimension that holds the clusters"),
        ({"channel_dim": -5}, r"channel_dim: .* came -5; pass the dimension"),
        (
            {"logits_a": torch.zeros(5, 0), "logits_b": torch.zeros(5, 0)},
            r"expected at least one cluster, came shape \(5, 0\) with channel_dim=1; pass one",
        ),
        (
            {"mask": torch.ones(2, 4)},
            r"mask: .* \(2, 4, 4\) or \(2, 1, 4, 4\), came \(2, 4\); give it the shape",
        ),
        (
            {"mask": torch.ones(2, 4, 4, dtype=torch.complex64)},
            r"mask: expected booleans or real numbers, came torch.complex64; pass mask.real",
        ),
        (
            {"mask": ELSEWHERE[:, 0]},
            r"mask: expected the device of the logits, cpu, came meta; move it",
        ),
        ({"impl": "fast"}, r"impl: expected one of 'auto', .* came 'fast'"),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    arguments = {"logits_a": GRID, "logits_b": GRID} | arguments
    for function in (mutual_information_loss, joint_matrix):
        with pytest.raises(ValueError, match=message):
            function(**arguments)


def test_refused_entropy_weight() -> None:
    with pytest.raises(ValueError, match=r"entropy_weight: expected a finite number, came inf"):
        mutual_information_loss(GRID, GRID, entropy_weight=math.inf)
