"""Write a source as webdataset shards: numbered tars in the layout of img2dataset.

Shard s holds the samples at positions s * n to (s + 1) * n - 1 of the source, n the shard size,
whether or not all of them can be read. So a shard depends on its own samples alone, and the same
source gives the same bytes however often the packing was interrupted.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from vilseg_data.files import UNFINISHED
from vilseg_data.survey.records import Finding, Records
from vilseg_data.survey.shard import open_shard, write_json

Progress = Callable[[int, int], None]

_MANIFEST = "pack.json"


@dataclass(frozen=True)
class PackReport:
    """What was packed: `samples` in `shards` tars, and what was left out with the reason."""

    samples: int
    shards: int
    broken: list[Finding]

    def to_json(self) -> dict[str, object]:
        """The report as plain data."""
        return asdict(self)


def pack(
    records: Records,
    out: str | Path,
    *,
    shard_size: int = 1000,
    size: int | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> PackReport:
    """Copy every readable sample into `out/00000.tar` and so on.

    A sample is `<key>.jpg` (or .png, .webp, ...: the bytes of the source), `<key>.txt` (its first
    caption) and `<key>.json` (all captions, its name in the source, width, height, SHA-256); the
    key is the number of the shard and of the sample in it. Beside each tar stands
    `<shard>_stats.json`. A tar appears under its name once it is whole.

    Args:
        records: the source.
        out: the folder; made if missing.
        shard_size: samples a shard.
        size: the shorter side that larger images are scaled down to, as JPEG of quality 95;
            without it no image is encoded again.
        resume: go on in `out` where a packing of the same source stopped.
        progress: called with (done, total).

    Raises:
        ValueError: a number is out of range, `out` holds something else, or the source is empty
            or not the one that `out` was begun with.
    """
    for name, value in (("shard_size", shard_size), ("size", 1 if size is None else size)):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, came {value}; raise it")
    folder = Path(out)
    settings = {"source": records.name, "shard_size": shard_size, "size": size}
    _begin(folder, settings, resume=resume)
    digits = max(4, len(str(shard_size - 1)))
    number = done = 0
    current = open_shard(folder, number, digits=digits, size=size)
    try:
        for item in records:
            if isinstance(item, Finding):
                current.leave_out(item)
                continue
            if done and done % shard_size == 0:
                current.finish()
                number += 1
                current = open_shard(folder, number, digits=digits, size=size)
            current.add(item)
            done += 1
            if progress is not None and done % 32 == 0:
                progress(done, max(done, records.total()))
        if not done:
            raise ValueError(
                f"records: expected at least one sample, came none in {records.name}; check it"
            )
        current.finish()
    finally:
        current.discard()
    if progress is not None:
        progress(done, done)
    return _end(folder, settings, shards=number + 1)


def _begin(folder: Path, settings: Mapping[str, object], *, resume: bool) -> None:
    manifest = folder / _MANIFEST
    if resume and manifest.is_file():
        begun = json.loads(manifest.read_text("utf-8"))
        for key, value in settings.items():
            if begun.get(key) != value:
                raise ValueError(
                    f"{key}: expected {begun.get(key)!r}, with which {folder} was begun, came "
                    f"{value!r}; take that, or another folder"
                )
        for part in folder.glob(UNFINISHED):
            part.unlink()
        return
    if resume:
        raise ValueError(
            f"resume: expected a folder with {manifest.name}, came {folder} without; "
            "leave resume out"
        )
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(
            f"out: expected an empty or new folder, came {folder}, which holds files; "
            "choose another, or resume what was begun there"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(manifest, {**settings, "complete": False})


def _end(folder: Path, settings: Mapping[str, object], *, shards: int) -> PackReport:
    for extra in folder.glob("*.tar"):
        if extra.stem.isdigit() and int(extra.stem) >= shards:
            raise ValueError(
                f"out: expected {shards} shards in {folder}, came {extra.name} as well; the source "
                "has shrunk: pack it into another folder"
            )
    samples, broken = 0, []
    for number in range(shards):
        stats = json.loads((folder / f"{number:05d}_stats.json").read_text("utf-8"))
        samples += stats["samples"]
        broken += [Finding(**entry) for entry in stats["broken"]]
    totals = {"samples": samples, "shards": shards, "broken": len(broken)}
    write_json(folder / _MANIFEST, {**settings, "complete": True, **totals})
    return PackReport(samples, shards, broken)
