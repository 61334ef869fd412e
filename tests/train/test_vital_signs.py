"""The signs of health, against plain loops and at the ends of their ranges."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vilseg_train.vital_signs import USED_SHARE, cluster_signs, contrast_signs, target_signs

SEEDS = st.integers(0, 2**31)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def entropy(shares: list[float]) -> float:
    return -sum(p * math.log(p) for p in shares if p > 0)


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, clusters=st.integers(2, 5), scale=st.floats(0.1, 20))
def test_cluster_signs_are_those_of_a_loop(seed: int, clusters: int, scale: float) -> None:
    logits = scale * drawn(seed, 2, clusters, 3, 2)
    rows = [
        logits[b, :, y, x].softmax(0).tolist() for b in range(2) for y in range(3) for x in range(2)
    ]
    mean = [sum(row[c] for row in rows) / len(rows) for c in range(clusters)]
    wins = [max(range(clusters), key=row.__getitem__) for row in rows]
    used = sum(wins.count(c) > USED_SHARE / clusters * len(rows) for c in range(clusters))
    signs = cluster_signs(logits)
    assert signs["cluster_entropy"].item() == pytest.approx(entropy(mean), abs=1e-4)
    assert signs["pixel_entropy"].item() == pytest.approx(
        sum(map(entropy, rows)) / len(rows), abs=1e-4
    )
    assert signs["clusters_used"].item() == used


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, images=st.integers(1, 6), prototypes=st.integers(2, 7))
def test_the_mean_target_is_never_surer_than_the_targets(
    seed: int, images: int, prototypes: int
) -> None:
    signs = target_signs(4 * drawn(seed, images, prototypes))
    own, whole = signs["target_entropy"].item(), signs["mean_target_entropy"].item()
    assert -1e-5 <= own <= whole + 1e-5 <= math.log(prototypes) + 2e-5


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, pairs=st.integers(2, 9))
def test_nearer_is_that_of_a_loop(seed: int, pairs: int) -> None:
    image, text = drawn(seed, pairs, 4), drawn(seed + 1, pairs, 4)
    cosine = torch.nn.functional.cosine_similarity
    farther = [
        cosine(image[i], text[j], dim=0) < cosine(image[i], text[i], dim=0)
        for i in range(pairs)
        for j in range(pairs)
        if i != j
    ]
    found = contrast_signs(image, text)["nearer"].item()
    assert found == pytest.approx(sum(map(float, farther)) / len(farther), abs=0.5 / pairs**2)


def test_ends_of_the_range() -> None:
    pairs = torch.eye(4)
    assert contrast_signs(pairs, pairs)["nearer"].item() == 1.0
    assert contrast_signs(torch.ones(4, 3), torch.ones(4, 3))["nearer"].item() == 0.0
    assert contrast_signs(pairs[:1], pairs[:1])["nearer"].item() == 1.0
    everything_in_one = torch.zeros(1, 3, 2, 2)
    everything_in_one[:, 1] = 50
    signs = cluster_signs(everything_in_one)
    assert signs["clusters_used"].item() == 1.0
    assert signs["cluster_entropy"].item() == pytest.approx(0.0, abs=1e-6)


def test_nothing_has_a_gradient() -> None:
    leaf = drawn(0, 2, 3, 2, 2).requires_grad_()
    signs = cluster_signs(leaf) | target_signs(leaf[:, :, 0, 0]) | contrast_signs(*leaf[..., 0])
    assert not any(value.requires_grad for value in signs.values())
    assert all(value.ndim == 0 for value in signs.values())
