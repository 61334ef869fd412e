"""Wrong captions: a share of the images changes captions, among themselves, and nothing else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vilseg_data import CaptionSource, WorldCaptions, build_captions
from vilseg_data.captions.config import CaptionsConfig
from vilseg_data.captions.noise import WrongCaptions, with_wrong_captions
from vilseg_data.reading import WholeSource

CLEAN = WorldCaptions(count=60, image_size=32)
SPOKEN = [CLEAN.captions(index) for index in range(60)]


@given(st.floats(0, 1), st.integers(0, 50))
@settings(max_examples=50)
def test_captions_are_moved_round_among_a_share_of_the_images(share: float, seed: int) -> None:
    noisy = WrongCaptions(CLEAN, share=share, seed=seed)
    assert isinstance(noisy, CaptionSource)
    assert len(noisy) == 60
    spoken = [noisy.captions(index) for index in range(60)]
    assert sorted(spoken) == sorted(SPOKEN)
    assert len(noisy.moved) == round(60 * share)
    kept = sorted(set(range(60)) - set(noisy.moved))
    assert [spoken[index] for index in kept] == [SPOKEN[index] for index in kept]
    again = WrongCaptions(CLEAN, share=share, seed=seed)
    assert [again.captions(index) for index in range(60)] == spoken


def test_every_moved_image_has_the_captions_of_another() -> None:
    numbered = [(str(index),) for index in range(60)]
    source = WorldCaptions(count=60, image_size=32)
    source._captions = list(numbered)
    noisy = WrongCaptions(source, share=0.5, seed=1)
    assert all(noisy.captions(index) != numbered[index] for index in noisy.moved)


def test_images_keep_their_places() -> None:
    noisy = with_wrong_captions(CLEAN, share=0.3, seed=2)
    assert isinstance(noisy, WholeSource)
    assert noisy.keys() == CLEAN.keys()
    for index in (0, 7, -1):
        sample = noisy[index]
        assert torch.equal(sample.image, CLEAN[index].image)
        assert sample.captions == noisy.captions(index)


def test_the_configuration_leaves_validation_clean() -> None:
    config = CaptionsConfig(count=60, image_size=32, wrong_captions=0.5, validation_split="val")
    assert [build_captions(config).captions(i) for i in range(60)] != SPOKEN
    clean = CaptionsConfig(count=60, image_size=32, validation_split="val")
    noisy, plain = (build_captions(each, split="val") for each in (config, clean))
    assert [noisy.captions(i) for i in range(20)] == [plain.captions(i) for i in range(20)]


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"share: expected a number in \[0, 1\], came 2"):
        WrongCaptions(CLEAN, share=2)
    with pytest.raises(ValueError, match="seed: expected at least 0, came -1"):
        WrongCaptions(CLEAN, share=0.1, seed=-1)
    with pytest.raises(ValueError, match=r"wrong_captions: expected 0 with stream, came 0\.1"):
        CaptionsConfig(kind="shards", shards="a.tar", stream=True, wrong_captions=0.1)
