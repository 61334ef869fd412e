"""`vilseg train --dry-run`: it says what is missing and begins nothing."""

from pathlib import Path

import pytest
from tests.train.conftest import TINY, quiet, said, sets, tiny_config
from typer.testing import CliRunner

from vilseg_train.cli import app
from vilseg_train.dry_run import dry_run
from vilseg_train.missing import find_missing


def test_all_is_there_for_the_world(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = CliRunner().invoke(app, ["train", "--dry-run", "--out", str(out), *sets(TINY)])
    assert result.exit_code == 0, result.output
    assert "everything is there to start" in result.output
    assert "samples an epoch: 20, so 2.4 epochs" in result.output
    assert not out.exists()


def test_what_is_missing_is_named_with_the_remedy() -> None:
    lacking = find_missing(
        tiny_config(
            "data.kind=shards",
            "data.shards=nowhere-{00..03}.tar",
            "data.validation_split=",
            "tokenizer.path=no.json",
            "model.image.checkpoint=no.safetensors",
            "train.processes=4",
            'loss.extra=[{name="own", loss="no_such_module:Loss", inputs=["image"]}]',
        ),
        processes=2,
    )
    assert [line.partition(":")[0] for line in lacking] == [
        "data", "tokenizer", "weights", "losses", "processes",
    ]  # fmt: skip
    for line, part in zip(
        lacking,
        ("4 of 4 that do not exist", "no.json", "no.safetensors", "no_such_module", "torchrun"),
        strict=True,
    ):
        assert part in line


def test_processes_of_torchrun_count(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config("train.processes=2")
    console = quiet()
    assert len(dry_run(config, console=console)) == 1
    assert "nothing could start yet" in said(console)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert dry_run(config, console=quiet()) == []
    monkeypatch.setenv("RANK", "1")
    console = quiet()
    assert dry_run(config, console=console) == []
    assert said(console) == ""
