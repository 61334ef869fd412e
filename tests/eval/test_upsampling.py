"""Upsampling in parts is upsampling at once, and torch's."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.allocations import allocations
from torch import Tensor
from torch.nn.functional import interpolate

from vilseg_eval import upsampling
from vilseg_eval.upsampling import (
    nearest,
    stripes,
    upsample,
    upsampled_argmax,
    upsampled_confidence,
)

SIDE = st.integers(1, 9)
SIZE = st.tuples(st.integers(1, 13), st.integers(1, 13))


@given(grid=st.tuples(st.integers(1, 5), SIDE, SIDE), size=SIZE, seed=st.integers(0, 99))
@settings(max_examples=20)
def test_upsampling_is_that_of_torch(
    grid: tuple[int, int, int], size: tuple[int, int], seed: int
) -> None:
    values = torch.randn(grid, generator=torch.Generator().manual_seed(seed))
    expected = interpolate(values[None], size=size, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(upsample(values, size=size), expected, atol=2e-5, rtol=1e-5)


@given(
    channels=st.integers(1, 20),
    grid=st.tuples(SIDE, SIDE),
    size=SIZE,
    at_once=st.sampled_from([1, 300, 10**7]),
)
@settings(max_examples=20)
def test_the_arg_max_in_parts_is_the_arg_max_of_all(
    channels: int, grid: tuple[int, int], size: tuple[int, int], at_once: int
) -> None:
    values = torch.randn(channels, *grid, generator=torch.Generator().manual_seed(channels))
    values[-1] = values[0]  # among equals the first one wins
    whole = upsample(values, size=size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upsampling, "_VALUES_AT_ONCE", at_once)
        assert torch.equal(upsampled_argmax(values, size=size), whole.argmax(0))
        seen = torch.zeros(size, dtype=torch.int64)
        for rows, parts in stripes(values, size=size):
            together = torch.cat(list(parts))
            assert torch.equal(together, whole[:, rows])
            seen[rows] += 1
    assert (seen == 1).all()


def peak_bytes(call: Callable[..., Tensor], grid: Tensor, *, size: tuple[int, int]) -> int:
    """The most that the call holds at once beyond its grid."""

    def run() -> None:
        call(grid, size=size)

    return max(accumulate(allocations(run), initial=0))


def test_memory_does_not_grow_with_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upsampling, "_VALUES_AT_ONCE", 2**14)
    for found in (upsampled_argmax, upsampled_confidence):
        few, many = (
            peak_bytes(found, torch.rand(words, 7, 8), size=(60, 80)) for words in (20, 1000)
        )
        assert many <= 1.2 * few


@given(grid=st.tuples(SIDE, SIDE), size=SIZE)
@settings(max_examples=12)
def test_nearest_is_the_token_that_holds_the_middle_of_the_pixel(
    grid: tuple[int, int], size: tuple[int, int]
) -> None:
    labels = torch.arange(grid[0] * grid[1]).view(grid)
    found = nearest(labels, size=size)
    for y in range(size[0]):
        for x in range(size[1]):
            row = int(Fraction(2 * y + 1, 2 * size[0]) * grid[0])
            column = int(Fraction(2 * x + 1, 2 * size[1]) * grid[1])
            assert found[y, x] == labels[row, column]
