"""An evaluation that is interrupted, or shared by processes, ends in the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
import torch
from tests.eval.fakes import MemorySet, ScoreSegmenter, class_list
from torch import Tensor

from vilseg_data import BrokenSampleError, LabelledSample
from vilseg_eval import BackgroundRule, Journal, evaluate

CLASSES = class_list(5, unseen=(2, 4), background=0)
RULE = BackgroundRule.parse("threshold:0.3")


def case(images: int = 11) -> tuple[MemorySet, ScoreSegmenter]:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randint(5, (3, 4 + i), generator=generator) for i in range(images)]
    scores = {
        f"image{i}": 0.2 * torch.rand(4, 3, 4 + i, generator=generator) for i in range(images)
    }
    return MemorySet(CLASSES, maps), ScoreSegmenter(CLASSES, scores)


def run(journal: Journal | None = None, **options: Any) -> dict[str, bytes]:
    dataset, segmenter = case()
    return evaluate(
        options.pop("segmenter", segmenter),
        options.pop("dataset", dataset),
        batch_size=2,
        background=RULE,
        journal=journal,
        **options,
    ).files()


class Killed(Exception):
    pass


class Dying(ScoreSegmenter):
    """Ends in the batch of a certain image."""

    def __init__(self, inner: ScoreSegmenter, key: str) -> None:
        super().__init__(CLASSES, inner.scores)
        self.key = key
        self.seen: list[str] = []

    def segment(self, images: Sequence[Tensor], keys: Sequence[str], /) -> list[Any]:
        if self.key in keys:
            raise Killed
        self.seen += keys
        return super().segment(images, keys)


class Pair:
    """Two processes as threads."""

    def __init__(self, rank: int, barrier: Barrier, parts: list[Any]) -> None:
        self.rank, self.size, self.barrier, self.parts = rank, 2, barrier, parts

    def gather(self, items: list[Any], /) -> list[Any]:
        self.parts[self.rank] = items
        self.barrier.wait(60)
        joined = [item for part in self.parts for item in part]
        self.barrier.wait(60)
        return joined


@pytest.mark.parametrize(
    ("key", "damage"),
    [("image0", b""), ("image5", b"0badc0de {}\n"), ("image10", b'12345678 {"batch": 4')],
)
def test_a_killed_evaluation_goes_on_to_the_same_bytes(
    tmp_path: Path, key: str, damage: bytes
) -> None:
    _, segmenter = case()
    dying = Dying(segmenter, key)
    with pytest.raises(Killed):
        run(Journal(tmp_path, settings={"a": 1}), segmenter=dying)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes() + damage)
    journal = Journal(tmp_path, settings={"a": 1}, resume=True)
    assert len(journal) == len(dying.seen) // 2
    rest = Dying(segmenter, "none")
    assert run(journal, segmenter=rest) == run()
    assert not set(rest.seen) & set(dying.seen)
    nothing = Dying(segmenter, "image0")
    assert run(Journal(tmp_path, settings={"a": 1}, resume=True), segmenter=nothing) == run()
    journal.discard()
    assert not tmp_path.exists()


def test_without_resuming_a_journal_begins_anew(tmp_path: Path) -> None:
    run(Journal(tmp_path, settings={}))
    assert len(Journal(tmp_path, settings={})) == 0
    _, segmenter = case()
    again = Dying(segmenter, "none")
    run(Journal(tmp_path, settings={}), segmenter=again)
    assert len(again.seen) == 11


def test_a_journal_of_other_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    run(Journal(tmp_path, settings={"words": ["a"]}))
    with pytest.raises(ValueError, match=r"resume: .* is the journal of an evaluation with other"):
        Journal(tmp_path, settings={"words": ["b"]}, resume=True)
    assert len(Journal(tmp_path / "none", settings={}, resume=True)) == 0


@pytest.mark.parametrize("journals", [False, True])
def test_two_processes_give_the_bytes_of_one(tmp_path: Path, journals: bool) -> None:
    barrier, parts = Barrier(2), [[], []]  # type: ignore[var-annotated]
    found: dict[int, dict[str, bytes]] = {}

    def work(rank: int) -> None:
        journal = Journal(tmp_path, settings={}, rank=rank) if journals else None
        found[rank] = run(journal, ranks=Pair(rank, barrier, parts))

    threads = [Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] == run()
    if journals:
        alone = Dying(case()[1], "image0")
        assert run(Journal(tmp_path, settings={}, resume=True), segmenter=alone) == run()


def test_every_broken_image_is_named() -> None:
    class Broken(MemorySet):
        def __getitem__(self, index: int, /) -> LabelledSample:
            if index in (1, 2, 7):
                raise BrokenSampleError(f"image{index}", "the mask is cut short")
            return super().__getitem__(index)

    dataset, _ = case()
    with pytest.raises(ValueError, match="3 of 11 images cannot be scored") as caught:
        run(dataset=Broken(CLASSES, dataset.maps))
    assert str(caught.value).count("the mask is cut short") == 3
    assert "image7" in str(caught.value)
