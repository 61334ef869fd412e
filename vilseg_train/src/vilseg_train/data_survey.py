"""What `vilseg data` does: open the source, call the library, show and write what it says."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path
from typing import get_args

from rich.console import Console

from vilseg_data import Tokenizer, TokenizerConfig
from vilseg_data.captions.tables import KINDS
from vilseg_data.labelled.build import LABELLED_SETS, build_labelled
from vilseg_data.survey import (
    Journal,
    Record,
    Records,
    check,
    contact_sheet,
    hash_folder,
    hash_labelled,
    inspect_source,
    pack,
    records_of_config,
    records_of_path,
    splits_of,
)
from vilseg_data.survey.records import Kind
from vilseg_data.survey.twins import Hashed
from vilseg_eval.files import write_atomically
from vilseg_train.config import RunConfig, load_config, parse_config, preset_names
from vilseg_train.data_tables import check_line, check_table, finding_lines, summary_tables
from vilseg_train.progress import say, track

# Enough for a vocabulary of thousands; learnt in seconds.
_CAPTIONS_TO_LEARN_FROM = 50_000


@dataclass(frozen=True)
class Given:
    """A source as the user names it."""

    source: str | None
    sets: Sequence[str]
    images: Path | None = None

    def open(self) -> tuple[Records, RunConfig]:
        """Its records, and the configuration that goes with it.

        Raises:
            ValueError: there is no such source, or an option does not go with it.
        """
        path = None if self.source is None else Path(self.source)
        table = path is not None and path.suffix.lower() in KINDS
        if self.images is not None and not table:
            raise ValueError(
                f"--images: expected a table ({', '.join(KINDS)}) with it, came {self.source}; "
                "leave it out"
            )
        if path is None or self.source in preset_names() or path.suffix == ".toml":
            config = load_config(self.source or "world", overrides=self.sets)
            return records_of_config(config.data), config
        if table:
            data = {"kind": "table", "table": str(path), "split": "train"}
            if self.images is not None:
                data["root"] = str(self.images)
            return self._configured(data)
        if path.is_dir() and (splits := splits_of(path)):
            split = splits[0] if len(splits) == 1 else "train"
            return self._configured({"kind": "archive", "root": str(path), "split": split})
        for key in self.sets:
            if key.strip().startswith("data."):
                raise ValueError(
                    f"--set {key}: expected a preset, a table or a folder of archives with it, "
                    f"came {path}; leave it out"
                )
        if not path.exists() and path.suffix == "" and not set("{*?") & set(path.name):
            raise ValueError(
                f"SOURCE: expected a preset ({', '.join(preset_names())}), a FILE.toml or a path, "
                f"came {self.source}, which is none; {_hint(str(self.source))}"
            )
        return records_of_path(str(path)), RunConfig().overridden(self.sets)

    def _configured(self, data: dict[str, str]) -> tuple[Records, RunConfig]:
        config = parse_config({"data": data}).overridden(self.sets)
        return records_of_config(config.data), config


def _hint(name: str) -> str:
    near = get_close_matches(name, preset_names(), n=1)
    return f"did you mean {near[0]}?" if near else "check the name"


def inspect_given(
    given: Given, *, tokenizer: Path | None, sheet: Path | None, report: Path | None
) -> None:
    """Print what is in a source; write the sheet of pictures and the JSON if they are asked for."""
    records, config = given.open()
    console, errors = Console(), Console(stderr=True)
    counter = _tokenizer(records, config.tokenizer, path=tokenizer, console=errors)
    with track("inspect", console=errors) as progress:
        summary, pictures = inspect_source(records, tokenizer=counter, progress=progress)
    for table in summary_tables(summary):
        console.print(table)
    contents = {}
    if sheet is not None:
        contents[sheet] = contact_sheet(pictures)
    if report is not None:
        contents[report] = _plain(summary.to_json())
    write_atomically(contents)
    for path in contents:
        say(errors, f"written: {path}")


def check_given(
    given: Given,
    *,
    against: str | None,
    root: Path | None,
    split: str,
    near: int,
    least_side: int,
    max_words: int,
    max_characters: int,
    ignore: Sequence[str],
    journal: Path | None,
    report: Path | None,
) -> bool:
    """Print, and write if asked for, what is at fault in a source; True if nothing is."""
    for kind in ignore:
        if kind not in get_args(Kind):
            raise ValueError(
                f"--ignore: expected one of {', '.join(get_args(Kind))}, came {kind}; name a kind"
            )
    if root is not None and against not in LABELLED_SETS:
        raise ValueError(f"--root: expected a set of --against with it, came {against}; name one")
    records, _ = given.open()
    console, errors = Console(), Console(stderr=True)
    theirs = None
    if against is not None:
        theirs = _evaluation_set(against, root=root, split=split, console=errors)
    with ExitStack() as stack:
        seen = None
        if journal is not None:
            file = stack.enter_context(journal.open("r+b" if journal.exists() else "w+b"))
            seen = stack.enter_context(
                Journal(file, source=records.name, settings={"least_side": least_side})
            )
        progress = stack.enter_context(track("check", console=errors))
        found = check(
            records,
            against=theirs,
            near=near,
            least_side=least_side,
            max_words=max_words,
            max_characters=max_characters,
            ignore=ignore,
            journal=seen,
            progress=progress,
        )
    if report is not None:
        write_atomically({report: _plain(found.to_json())})
    say(console, check_line(found))
    console.print(check_table(found))
    for line in finding_lines(found.findings):
        say(console, line)
    if report is not None:
        say(errors, f"written: {report}")
    return found.clean


def pack_given(
    given: Given,
    *,
    out: Path,
    shard_size: int,
    size: int | None,
    resume: bool,
    report: Path | None,
) -> bool:
    """Pack a source into shards; True if every sample is in them."""
    records, _ = given.open()
    errors = Console(stderr=True)
    with track("pack", console=errors) as progress:
        packed = pack(
            records, out, shard_size=shard_size, size=size, resume=resume, progress=progress
        )
    if report is not None:
        write_atomically({report: _plain(packed.to_json())})
    console = Console()
    say(console, f"{packed.samples} samples in {packed.shards} shards: {out}")
    if packed.broken:
        say(console, f"left out: {len(packed.broken)}")
    for line in finding_lines(packed.broken):
        say(console, line)
    return not packed.broken


def _tokenizer(
    records: Records, config: TokenizerConfig, *, path: Path | None, console: Console
) -> Tokenizer:
    if path is not None:
        return Tokenizer.clip(path) if path.name.endswith(".gz") else Tokenizer.load(path)
    if config.path is not None:
        return config.build()
    spoken = chain.from_iterable(item.captions for item in records if isinstance(item, Record))
    captions = list(islice(spoken, _CAPTIONS_TO_LEARN_FROM))
    if not captions:
        raise ValueError(
            f"source: expected a caption, came none in {records.name}; vilseg data check"
            " names what is at fault"
        )
    say(console, f"tokens: a vocabulary learnt from {len(captions)} captions")
    return config.build(captions)


def _evaluation_set(against: str, *, root: Path | None, split: str, console: Console) -> Hashed:
    with track("hash", console=console) as progress:
        if against in LABELLED_SETS:
            return hash_labelled(build_labelled(against, root=root, split=split), progress=progress)
        if not Path(against).is_dir():
            raise ValueError(
                "--against: expected a folder of images or one of "
                f"{', '.join(LABELLED_SETS)}, came "
                f"{against}; check the name"
            )
        return hash_folder(against, progress=progress)


def _plain(content: object) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()
