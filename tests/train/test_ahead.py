"""Batches fetched ahead come in the loader's order, and the position is that of those taken."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from vilseg_data import CaptionBatch
from vilseg_train.ahead import Ahead


class Counting:
    """Batches 0, 1, 2, ..."""

    def __init__(self) -> None:
        self.given = 0

    def next_batch(self) -> CaptionBatch:
        self.given += 1
        number = torch.tensor([[self.given - 1]])
        return CaptionBatch(number, number, (str(self.given - 1),), 0, 0, 1)

    def state_dict(self) -> dict[str, int]:
        return {"given": self.given}


@given(st.lists(st.sampled_from(["take", "fetch"]), max_size=20), st.integers(1, 3))
def test_order_and_position(calls: list[str], count: int) -> None:
    loader = Counting()
    ahead = Ahead(loader, count=count, device=torch.device("cpu"))
    taken: list[int] = []
    for call in calls:
        if call == "fetch":
            ahead.fetch()
        else:
            batches = ahead.take()
            assert len(batches) == count
            taken += [int(batch.images) for batch in batches]
        assert ahead.position == {"given": len(taken)}
        assert loader.given - len(taken) in (0, count)
    assert taken == list(range(len(taken)))
