"""The symmetries of a square: permutations of pixels that form a group."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.data.views.cases import generator, noise, seeds
from torch import Tensor

from vilseg_data.views import geometry, symmetry


def elements(n: int, *, seed: int) -> tuple[Tensor, Tensor]:
    draws = torch.randint(0, 8, (n,), generator=generator(seed))
    return draws % 2 == 1, draws // 2


@given(seeds, st.integers(0, 4), st.integers(1, 7))
def test_it_is_a_mirror_and_clockwise_turns(seed: int, n: int, side: int) -> None:
    images, (flip, turns) = noise(n, 2, side, side, seed=seed), elements(n, seed=seed)
    moved = symmetry.act(images, flip=flip, turns=turns)
    for i in range(n):
        expected = images[i].flip(-1) if flip[i] else images[i]
        assert torch.equal(moved[i], expected.rot90(-int(turns[i]), (-2, -1)))


@given(seeds, st.integers(1, 4), st.integers(1, 7))
def test_joined_and_undone(seed: int, n: int, side: int) -> None:
    images = noise(n, 2, side, side, seed=seed)
    (flip, turns), (flip_2, turns_2) = elements(n, seed=seed), elements(n, seed=seed + 1)
    moved = symmetry.act(images, flip=flip, turns=turns)
    assert torch.equal(symmetry.undo(moved, flip=flip, turns=turns), images)
    joined = symmetry.join_turns(turns, turns_2, second_flip=flip_2)
    assert torch.equal(
        symmetry.act(images, flip=flip ^ flip_2, turns=joined),
        symmetry.act(moved, flip=flip_2, turns=turns_2),
    )


@given(seeds, st.integers(1, 4), st.integers(1, 9), st.booleans())
def test_its_maps_sample_the_same_pixels(seed: int, n: int, side: int, plain: bool) -> None:
    images, (flip, turns) = noise(n, 2, side, side, seed=seed), elements(n, seed=seed)
    maps = symmetry.as_maps(images, flip=flip, turns=None if plain else turns)
    sampled = geometry.sample(images, maps, mode="nearest")
    assert torch.equal(sampled, symmetry.act(images, flip=flip, turns=None if plain else turns))


def test_images_that_are_not_square_take_half_turns_alone() -> None:
    images, flip = noise(2, 3, 4, 6, seed=0), torch.tensor([False, True])
    moved = symmetry.act(images, flip=flip, turns=torch.tensor([2, 0]))
    assert torch.equal(moved[0], images[0].flip(-1, -2))
    with pytest.raises(
        ValueError, match=r"turns: expected half turns of images of 4 x 6, came a q"
    ):
        symmetry.act(images, flip=flip, turns=torch.tensor([2, 1]))
