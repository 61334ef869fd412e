"""The records of whatever a user points at: a configuration of captions, or a path."""

import json
import re
from pathlib import Path

from vilseg_data.captions.archive import ArchiveCaptions
from vilseg_data.captions.config import CaptionsConfig, build_captions
from vilseg_data.captions.locations import is_remote
from vilseg_data.survey.archives import TarRecords, ZipRecords
from vilseg_data.survey.records import FolderRecords, Records, SourceRecords, TableRecords

_CAPTIONS = ".captions.json"


def records_of_config(config: CaptionsConfig, *, split: str | None = None) -> Records:
    """The records of what training with `config` reads; `split` takes the place of its own.

    A kind whose files are not known here is read as training reads it, its images as PNG.

    Raises:
        ValueError: the root or the table is missing or holds no such split.
    """
    chosen = config.split if split is None else split
    if config.kind == "archive" and config.root is not None:
        return _archive(config.root, split=chosen)
    if config.kind == "table" and config.table is not None:
        return TableRecords(
            config.table,
            images=config.root,
            image_column=config.image_column,
            caption_column=config.caption_column,
        )
    if config.kind == "shards" and config.shards is not None:
        return TarRecords(config.shards, caption_key=config.caption_column)
    return SourceRecords(build_captions(config, split=chosen))


def records_of_path(path: str | Path) -> Records:
    """The records of a zip, a tar, a pattern of tars or a folder.

    A zip has its captions in `<name>.captions.json` beside it, where `-NN` at the end of the name
    is left out, or in a `.txt` or `.json` beside each image in it. Tars are named as for
    `find_shards`: `name-{0000..0031}.tar`, `*`, a URL, `pipe:...`. A folder holds tars, or images
    with a `.txt` or `.json` beside each.

    Raises:
        ValueError: there is nothing of this kind.
    """
    text = str(path)
    if text.endswith(".tar") or "::" in text or is_remote(text):
        return TarRecords(text)
    found = Path(path)
    if found.suffix.lower() == ".zip":
        beside = found.with_name(re.sub(r"-\d+$", "", found.stem) + _CAPTIONS)
        captions = _read_captions(beside) if beside.is_file() else None
        return ZipRecords([found], captions=captions, whole=beside.name == found.stem + _CAPTIONS)
    if found.is_dir():
        if any(found.glob("*.tar")):
            return TarRecords(found)
        return FolderRecords(found)
    raise ValueError(
        f"source: expected a .zip, a .tar, a pattern of tars or a folder, came {path}; "
        "check the path"
    )


def splits_of(folder: Path) -> list[str]:
    """The splits of a folder of archives: those that have `<split>.captions.json`."""
    return sorted(path.name.removesuffix(_CAPTIONS) for path in folder.glob(f"*{_CAPTIONS}"))


def _archive(root: Path, *, split: str) -> Records:
    zips = sorted({*root.glob(f"{split}-*.zip"), *root.glob(f"{split}.zip")})
    captions = root / f"{split}{_CAPTIONS}"
    if not zips or not captions.is_file():
        # Says what is missing, in the words of training.
        ArchiveCaptions(root, split=split)
    return ZipRecords(zips, captions=_read_captions(captions), name=f"{root.name}/{split}")


def _read_captions(path: Path) -> dict[str, object]:
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig", errors="replace"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON, came {error}; write it again") from error
    if not isinstance(table, dict):
        raise ValueError(
            f"{path}: expected a JSON object {{image name: [captions]}}, came "
            f"{type(table).__name__}; write it in this form"
        )
    return table
