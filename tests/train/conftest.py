"""A run small enough to train in a second, and one that is trained once for all tests."""

import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from vilseg_train import RunConfig, Trainer, load_config

TINY = (
    "model.embed_dim=24",
    "model.prototypes=8",
    "model.image.image_size=32",
    "model.image.options.embed_dim=16",
    "model.image.options.depth=1",
    "model.image.options.num_heads=2",
    "model.text.width=16",
    "model.cluster.clusters=4",
    "tokenizer.vocab_size=300",
    "tokenizer.context_length=48",
    "data.image_size=32",
    "data.count=20",
    "data.validation_count=6",
    "views.local_size=16",
    "views.num_local=2",
    "optim.warmup_steps=2",
    "train.steps=6",
    "train.batch_size=8",
    "train.log_every=2",
    "train.checkpoint_every=2",
    "train.sample_every=6",
    "train.sample_images=2",
    "train.retrieval_images=6",
    "train.threads=1",
)


def tiny_config(*overrides: str) -> RunConfig:
    return load_config("world", overrides=[*TINY, *overrides])


def sets(overrides: Sequence[str]) -> list[str]:
    """The same as arguments of the command."""
    return [part for override in overrides for part in ("--set", override)]


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run; do not write into it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    Trainer(tiny_config(), out=out, console=quiet()).fit()
    return out


@pytest.fixture
def own_run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))
