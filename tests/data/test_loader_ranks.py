"""Loaders of several ranks give the rows of the loader of one."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.sources import ListSource
from tests.data.test_loader import loader_of

from vilseg_data import CaptionBatch


class Meeting:
    """Gathers the lists of `count` threads."""

    def __init__(self, count: int) -> None:
        self._barrier = Barrier(count, timeout=20)
        self._lists: dict[int, list[Any]] = {}

    def of(self, rank: int) -> Any:
        def share(items: list[Any]) -> list[Any]:
            self._lists[rank] = items
            self._barrier.wait()
            joined = [item for key in sorted(self._lists) for item in self._lists[key]]
            self._barrier.wait()
            return joined

        return share


def batches_of_ranks(
    ranks: int, count: int, *, broken: Sequence[int], **options: object
) -> list[list[CaptionBatch]]:
    """`count` batches of each rank, and each rank's list of what is broken at the end."""
    meeting = Meeting(ranks)

    def follow(rank: int) -> list[CaptionBatch]:
        source = ListSource(20, unreadable=sorted(broken))
        loader = loader_of(source, rank=rank, world_size=ranks, share=meeting.of(rank), **options)
        try:
            return [loader.next_batch() for _ in range(count)]
        finally:
            loader.close()

    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(follow, range(ranks)))


@given(
    st.integers(2, 4),
    st.sets(st.integers(0, 19), max_size=6),
    st.integers(2, 7),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=25)
def test_rows_of_the_ranks_are_the_batch_of_one(
    ranks: int, broken: set[int], batch_size: int, cache: bool, drop_last: bool
) -> None:
    options = {"batch_size": batch_size, "cache": cache, "drop_last": drop_last}
    alone = loader_of(ListSource(20, unreadable=sorted(broken)), **options)
    parts = batches_of_ranks(ranks, 7, broken=sorted(broken), **options)
    for number in range(7):
        whole = alone.next_batch()
        rows = [part[number] for part in parts]
        assert torch.equal(torch.cat([row.images for row in rows]), whole.images)
        assert torch.equal(torch.cat([row.tokens for row in rows]), whole.tokens)
        assert sum((row.keys for row in rows), ()) == whole.keys
        assert {(row.epoch, row.total) for row in rows} == {(whole.epoch, len(whole.keys))}
        sizes = [len(row.keys) for row in rows]
        assert [row.first for row in rows] == [sum(sizes[:k]) for k in range(ranks)]
        assert max(sizes) - min(sizes) <= 1
    alone.close()


def test_ranks_without_cache_need_a_way_to_tell_one_another() -> None:
    with pytest.raises(ValueError, match="share: expected a function for 2 ranks without cache"):
        loader_of(ListSource(20), rank=0, world_size=2, cache=False)
    with pytest.raises(ValueError, match="rank: expected 0 to 1, came 2"):
        loader_of(ListSource(20), rank=2, world_size=2)
