"""The gradient contract, with real processes: the step of many ranks is the step of one."""

from pathlib import Path

import pytest
import torch
from tests.core import workers
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from vilseg_core.distributed import (
    gather_rows,
    logsumexp_over_group,
    max_over_group,
    rows_of_ranks,
    share_rows,
    sum_over_group,
    world_size,
)

Found = dict[str, dict[str, Tensor]]

# Rows of each rank; uneven, and once a rank without any.
SIZES = [(5, 7), (4, 0, 3)]


@pytest.fixture(scope="module", params=SIZES, ids=str)
def ranks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tuple[int, ...], list[Found]]:
    sizes: tuple[int, ...] = request.param
    folder: Path = tmp_path_factory.mktemp("ranks")
    spawn(  # type: ignore[no-untyped-call]
        workers.run, args=(sizes, folder), nprocs=len(sizes)
    )
    for rank in range(len(sizes)):
        text = (folder / f"{rank}.second.txt").read_text(encoding="utf-8")
        assert "differentiate twice" in text
    for rank in range(1, len(sizes)):
        refusals = (folder / f"{rank}.txt").read_text(encoding="utf-8").splitlines()
        assert len(refusals) == len(workers.LOSSES) + len(workers.UPDATES)
        expected = ": group: expected a process group that this process belongs to"
        assert [text for text in refusals if expected not in text] == []
    return sizes, [torch.load(folder / f"{rank}.pt") for rank in range(len(sizes))]


@pytest.mark.slow
@pytest.mark.parametrize("name", workers.LOSSES)
def test_every_rank_has_the_value_and_the_step_of_one_process(
    ranks: tuple[tuple[int, ...], list[Found]], name: str
) -> None:
    sizes, found = ranks
    truth = workers.measure(name, workers.batch(sum(sizes)), group=None)
    start = 0
    for size, rank in zip(sizes, found, strict=True):
        own = slice(start, start + size)
        start += size
        assert rank[name].keys() == truth.keys()
        for key, exact in truth.items():
            expected = exact[own] if key.startswith("inputs.") else exact
            difference = (rank[name][key] - expected).abs()
            assert difference.numel() == 0 or difference.max() < 1e-12, key


@pytest.mark.parametrize("name", workers.KERNELS)
def test_kernels_take_the_step_of_one_process(
    ranks: tuple[tuple[int, ...], list[Found]], name: str
) -> None:
    sizes, found = ranks
    alone = name.removesuffix("_triton")
    truth = workers.measure(alone, workers.batch(sum(sizes)), group=None)
    start = 0
    for size, rank in zip(sizes, found, strict=True):
        own = slice(start, start + size)
        start += size
        for key, exact in truth.items():
            expected = exact[own] if key.startswith("inputs.") else exact
            torch.testing.assert_close(rank[name][key].double(), expected, rtol=1e-4, atol=1e-6)


def test_statistics_are_those_of_the_joined_batch(
    ranks: tuple[tuple[int, ...], list[Found]],
) -> None:
    sizes, found = ranks
    truth = workers.statistics(*workers.batch(sum(sizes)), group=None)
    for rank in found:
        for key, exact in truth.items():
            if key != "assignment":
                torch.testing.assert_close(rank["statistics"][key], exact)
    joined = torch.cat([rank["statistics"]["assignment"] for rank in found])
    torch.testing.assert_close(joined, truth["assignment"])


def test_both_collectives_give_each_rank_the_sum_of_its_rows(
    ranks: tuple[tuple[int, ...], list[Found]],
) -> None:
    sizes, found = ranks
    total = sum(sizes)
    parts = torch.stack([torch.arange(2.0 * total) * 10**rank for rank in range(len(sizes))])
    truth = torch.split(parts.sum(0).reshape(total, 2), list(sizes))
    for rank, exact in zip(found, truth, strict=True):
        for way in rank["scattered"].values():
            assert torch.equal(way, exact)


def test_alone_nothing_is_sent_or_copied() -> None:
    rows = torch.ones(3, 2)
    assert world_size(None) == 1
    assert rows_of_ranks(rows, None) == ((3,), 0)
    assert gather_rows(rows, None) is rows
    assert share_rows(rows, None) is rows
    assert logsumexp_over_group(rows, None) is rows
    assert torch.equal(max_over_group(rows, None), rows)
    assert sum_over_group(rows, None) is rows
