"""Resident memory over a long stream of shards: python -m benchmarks.data_memory."""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.table import Table

from benchmarks.data_decode import no_tokens
from benchmarks.data_images import cycle, draw, write_shards
from benchmarks.loss_report import terminal
from vilseg_data import ShardStream, StreamLoader

_FILES = 1000  # samples in the four shards, which are streamed over and over


def resident_bytes() -> int:
    """Memory of this process that is in use, as the system counts it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def follow(
    shards: Sequence[str], *, samples: int, size: int, batch: int, marks: int
) -> list[tuple[int, int, float]]:
    """Samples so far, resident bytes and seconds, `marks` times on the way through one epoch."""
    stream = ShardStream(list(shards), seed=0, weights=[-(-samples // _FILES)] * len(shards))
    loader = StreamLoader(stream, no_tokens, batch_size=batch, image_size=size)
    found = []
    start = time.perf_counter()
    done = 0
    for mark in range(1, marks + 1):
        while done < samples * mark // marks:
            done += len(loader.next_batch().keys)
        found.append((done, resident_bytes(), time.perf_counter() - start))
    loader.close()
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data_memory", description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=64, help="side of the decoded images")
    parser.add_argument("--batch", type=int, default=64)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = draw(16, width=128, height=96, seed=0).files
        shards = write_shards(Path(folder), cycle(files, _FILES))
        found = follow(shards, samples=given.samples, size=given.size, batch=given.batch, marks=10)
    table = Table("samples", "resident, MiB", "seconds")
    for done, resident, seconds in found:
        table.add_row(f"{done:,}", f"{resident / 2**20:.1f}", f"{seconds:.1f}")
    terminal().print(table)


if __name__ == "__main__":
    main()
