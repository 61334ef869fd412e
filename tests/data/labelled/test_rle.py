"""Run lengths: what is encoded by a slow loop is decoded, damage is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.data.labelled.layouts import packed, runs

from vilseg_data.labelled.rle import decode_rle

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(SHAPES.flatmap(lambda shape: arrays(bool, shape)))
@settings(max_examples=200)
def test_decoding_undoes_encoding(mask: np.ndarray) -> None:
    height, width = mask.shape
    for counts in (runs(mask), packed(runs(mask)), packed(runs(mask)).encode()):
        np.testing.assert_array_equal(decode_rle(counts, height=height, width=width), mask)


def test_a_mask_encoded_by_pycocotools() -> None:
    mask = np.zeros((40, 30), dtype=bool)
    mask[5:33, 4:21] = mask[0, 0] = True
    text = "01T5k0XK0000000000000000000000000000000S;"
    np.testing.assert_array_equal(decode_rle(text, height=40, width=30), mask)


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=9))
def test_long_runs_survive_the_text(counts: list[int]) -> None:
    size = sum(counts)
    if size:
        mask = decode_rle(packed(counts), height=size, width=1)
        expected = [k % 2 == 1 for k, count in enumerate(counts) for _ in range(count)]
        assert mask[:, 0].tolist() == expected


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([3], "expected runs that fill 2 x 2 pixels, came 3 pixels; the annotation is damaged"),
        ([6, -2], "came 4 pixels with negative runs"),
        ("", "came 0 pixels"),
        ("T", "expected a whole last number, came text that is cut short"),
        ("4 ", r"expected characters '0' to 'o', came ' '"),
    ],
)
def test_damage_is_refused(counts: str | list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_rle(counts, height=2, width=2)
