"""R@k against sorting, on ties, and against chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vilseg_eval import retrieval


def loop(images: Any, texts: Any, owners: list[int], k: int) -> tuple[float, float]:
    """Sort everything; among equal cosines what is not one's own comes first."""
    unit_images = images / np.linalg.norm(images, axis=1, keepdims=True)
    unit_texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    cosines = (unit_images @ unit_texts.T).round(9)
    to_text = [
        any(
            own
            for _, own in sorted((-cosines[i, j], owners[j] == i) for j in range(len(texts)))[:k]
        )
        for i in range(len(images))
    ]
    to_image = [
        any(
            own
            for _, own in sorted((-cosines[i, j], owners[j] == i) for i in range(len(images)))[:k]
        )
        for j in range(len(texts))
    ]
    return float(np.mean(to_text)), float(np.mean(to_image))


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 8), st.integers(1, 5))
@settings(max_examples=60)
def test_recall_equals_sorting(seed: int, n: int, extra: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    # Few distinct directions, so that ties abound.
    directions = rng.normal(size=(3, 4))
    owners = [*range(n), *rng.integers(0, n, extra).tolist()]
    images = directions[rng.integers(0, 3, n)] * rng.uniform(0.5, 2, (n, 1))
    texts = directions[rng.integers(0, 3, n + extra)]
    found: Any = retrieval(
        torch.from_numpy(images),
        torch.from_numpy(texts),
        torch.tensor(owners),
        ranks=(1, 2, 5),
        block=block,
    )
    for k in (1, 2, 5):
        to_text, to_image = loop(images, texts, owners, k)
        assert found["image_to_text"][f"R@{k}"] == pytest.approx(to_text)
        assert found["text_to_image"][f"R@{k}"] == pytest.approx(to_image)


def test_matched_embeddings_are_found_and_equal_ones_are_not() -> None:
    eye = torch.eye(20)
    owners = [i // 5 for i in range(100)]
    found: Any = retrieval(eye, 3 * eye[owners], owners)
    assert found["image_to_text"] == found["text_to_image"] == {"R@1": 1, "R@5": 1, "R@10": 1}
    same: Any = retrieval(torch.ones(20, 7), torch.ones(100, 7), owners)
    assert same["image_to_text"] == same["text_to_image"] == {"R@1": 0, "R@5": 0, "R@10": 0}


def test_chance_is_what_random_embeddings_find() -> None:
    generator = torch.Generator().manual_seed(0)
    n, owners = 100, [i % 100 for i in range(300)]
    totals = {"image_to_text": 0.0, "text_to_image": 0.0}
    for _ in range(20):
        images = torch.randn(n, 50, generator=generator)
        texts = torch.randn(300, 50, generator=generator)
        found: Any = retrieval(images, texts, owners)
        for way in totals:
            totals[way] += found[way]["R@10"] / 20
    assert found["chance"]["text_to_image"] == {"R@1": 0.01, "R@5": 0.05, "R@10": 0.1}
    assert totals["text_to_image"] == pytest.approx(0.1, abs=0.02)
    assert totals["image_to_text"] == pytest.approx(
        found["chance"]["image_to_text"]["R@10"], abs=0.02
    )


@pytest.mark.parametrize(
    ("images", "texts", "owners", "message"),
    [
        (torch.ones(2, 3), torch.ones(2, 4), [0, 1], r"expected \(n, d\) and \(m, d\)"),
        (torch.full((2, 3), torch.nan), torch.ones(2, 3), [0, 1], "image_embeddings: .* finite"),
        (torch.ones(2, 3), torch.ones(2, 3), [0], "owners: expected 2 integers"),
        (torch.ones(2, 3), torch.ones(2, 3), [0, 0], "every image 0 to 1 to own a caption"),
        (torch.ones(2, 3), torch.ones(2, 3), [0, 2], "every image 0 to 1 to own a caption"),
    ],
)
def test_unusable_input_is_refused(
    images: torch.Tensor, texts: torch.Tensor, owners: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval(images, texts, owners)
