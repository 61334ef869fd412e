import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.data.survey.files import picture

from vilseg_data import WorldCaptions, decode_image
from vilseg_data.survey.hashing import NEAR, distances, near_pairs, perceptual_hash

HASH = st.integers(0, 2**64 - 1)


def _hash(data: bytes) -> int:
    value = perceptual_hash(decode_image(data))
    assert value is not None
    return value


def _apart(a: int, b: int) -> int:
    return (a ^ b).bit_count()


def _copy(data: bytes, *, scale: float, quality: int) -> bytes:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    size = (round(image.width * scale), round(image.height * scale))
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    return file.getvalue()


@given(seed=st.integers(0, 10_000), scale=st.floats(0.5, 2.0), quality=st.integers(40, 95))
def test_a_rescaled_and_recompressed_copy_is_near(seed: int, scale: float, quality: int) -> None:
    data = picture(seed, side=96)
    assert _apart(_hash(data), _hash(_copy(data, scale=scale, quality=quality))) <= NEAR


@given(seeds=st.lists(st.integers(0, 10_000), min_size=2, max_size=2, unique=True))
def test_another_picture_is_far(seeds: list[int]) -> None:
    assert _apart(*(_hash(picture(seed)) for seed in seeds)) > NEAR


def test_scenes_of_the_world_are_far_from_one_another() -> None:
    scenes = WorldCaptions(count=200, image_size=64)
    values = [perceptual_hash(scenes[k].image) for k in range(len(scenes))]
    known = np.array([value for value in values if value is not None], dtype=np.uint64)
    assert len(known) == 200
    assert not [pair for pair in near_pairs(known, known) if pair[0] < pair[1]]


def test_copies_of_real_photos_are_near_and_others_far(shared_data: Path) -> None:
    paths = sorted((shared_data / "voc_320" / "JPEGImages").glob("*.jpg"))[:60]
    assert len(paths) == 60
    originals = [_hash(path.read_bytes()) for path in paths]
    copies = [_hash(_copy(path.read_bytes(), scale=0.5, quality=50)) for path in paths]
    found = near_pairs(np.array(originals, np.uint64), np.array(copies, np.uint64))
    assert sorted((i, j) for i, j, _ in found) == [(k, k) for k in range(60)]


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_blank_image_has_no_hash(value: int) -> None:
    assert perceptual_hash(torch.full((3, 20, 30), value, dtype=torch.uint8)) is None


def test_half_the_bits_are_set() -> None:
    assert {_hash(picture(seed)).bit_count() for seed in range(20)} == {32}


@given(a=st.lists(HASH, min_size=1, max_size=6), b=st.lists(HASH, min_size=1, max_size=6))
def test_distances_count_the_bits(a: list[int], b: list[int]) -> None:
    found = distances(np.array(a, np.uint64)[:, None], np.array(b, np.uint64)[None])
    assert found.tolist() == [[_apart(x, y) for y in b] for x in a]


@given(data=st.data(), most=st.integers(0, 6), common=st.sampled_from([None, 1, 2, 3]))
def test_near_pairs_are_those_of_the_slow_loop(
    data: st.DataObject, most: int, common: int | None
) -> None:
    def hashes() -> list[int]:
        # Few bits set: so that most pairs are near the limit.
        bits = st.lists(st.integers(0, 63), max_size=10)
        found = data.draw(st.lists(bits, min_size=1, max_size=12))
        return [sum(1 << bit for bit in set(chosen)) for chosen in found]

    a, b = hashes(), hashes()
    found = list(
        near_pairs(np.array(a, np.uint64), np.array(b, np.uint64), most=most, common=common)
    )
    slow = [
        (i, j, _apart(x, y))
        for i, x in enumerate(a)
        for j, y in enumerate(b)
        if _apart(x, y) <= most
    ]
    assert sorted(found) == sorted(slow)


@pytest.mark.parametrize("most", [-1, 17])
def test_a_limit_out_of_range_is_refused(most: int) -> None:
    empty = np.zeros(1, np.uint64)
    with pytest.raises(ValueError, match=rf"most: expected 0 to 16 bits, came {most}"):
        next(near_pairs(empty, empty, most=most))
