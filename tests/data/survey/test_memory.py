"""However long a source is, few of its images are in memory at once."""

import io
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from vilseg_data.survey import Record, check, inspect_source, pack

_SIDE = 500  # a BMP of 750 kB


def _bitmap(number: int) -> bytes:
    generator = torch.Generator().manual_seed(number)
    pixels = torch.randint(256, (_SIDE, _SIDE, 3), generator=generator, dtype=torch.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, "BMP")
    return file.getvalue()


class _Long:
    name = "long"

    def total(self) -> int:
        return 120

    def __iter__(self) -> Iterator[Record]:
        for number in range(self.total()):
            yield Record(f"{number}", (f"caption {number}",), partial(_bitmap, number))


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [
        lambda _: check(_Long(), threads=2),
        lambda _: inspect_source(_Long(), pictures=4),
        lambda folder: pack(_Long(), folder, shard_size=50),
    ],
    ids=["check", "inspect", "pack"],
)
def test_few_images_are_in_memory(use: Callable[[Path], object], tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        use(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # All of them are 90 MB.
    assert peak < 20e6
