"""A stream holds a block or two of samples, however long it is."""

import tracemalloc
from pathlib import Path

import numpy as np
from tests.data.captions.shard_files import pack
from tests.data.sources import photo

from vilseg_data import ShardStream


def test_memory_does_not_grow_with_the_stream(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(100_000)
    members = []
    for number in range(20):
        # What lies behind the end of a PNG is not read: a large file whose image is small.
        members += [(f"{number}.png", photo(number) + noise), (f"{number}.txt", b"noise")]
    (tmp_path / "s.tar").write_bytes(pack(members))
    del members
    peaks = []
    for times in (1, 12):
        stream = ShardStream([tmp_path / "s.tar"], weights=[times], seed=0, shuffle=5)
        tracemalloc.start()
        try:
            assert sum(len(sample.image) > 100_000 for sample in stream) == 20 * times
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # Two blocks of 5 samples and the one that is being read; all of them are 24 MB.
    assert max(peaks) < 2e6
    assert peaks[1] < 1.2 * peaks[0]
