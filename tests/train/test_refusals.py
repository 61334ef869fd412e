"""Runs that cannot be meant are refused before their first step, each with what to do."""

from pathlib import Path

import pytest
from tests.train.conftest import quiet, tiny_config

from vilseg_data import Tokenizer
from vilseg_train import ConfigError, Trainer


def extra(loss: str, *inputs: str) -> str:
    names = ", ".join(f'"{name}"' for name in inputs)
    return f'loss.extra=[{{name = "own", loss = "{loss}", inputs = [{names}]}}]'


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.batch_size=9", "train.accumulate=2"], r"multiple of accumulate \(2\).*take 8"),
        (
            ["train.batch_size=8", "train.accumulate=8"],
            "at least 2 times as large, came 8; take 16",
        ),
        (
            ["model.cluster.clusters=1"],
            r"model\.cluster\.clusters: expected at least 2, came 1; .*the paper has 25",
        ),
        (["views.num_local=0"], r"num_local: expected at least 1 .*; give local views or"),
        (
            ["views.num_local=0", "loss.vision=0", extra("a.b:C", "local_image")],
            "num_local: expect",
        ),
        ([extra("no_such_module.losses:Spread", "image")], "no_such_module"),
        ([extra("vilseg_core:NoSuchLoss", "image")], "NoSuchLoss"),
        ([extra("vilseg_core:SymmetricInfoNCE", "image", "txt")], "'txt'.*did you mean 'text'"),
        (["loss.crss=1"], "unknown key loss.crss; did you mean loss.cross"),
        (["train.precision=fp16"], "train.precision: expected 'fp32', 'bf16' or 'fp64'"),
        (["train.cache_chunk=-1"], "train.cache_chunk: expected greater than or equal to 0"),
    ],
)
def test_refused_before_anything_is_written(
    overrides: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        Trainer(tiny_config(*overrides), out=tmp_path / "run", console=quiet())
    assert not (tmp_path / "run").exists()


def test_a_batch_is_shared_evenly_by_the_processes() -> None:
    train = tiny_config("train.batch_size=12", "train.accumulate=2").train
    train.check_processes(3)
    with pytest.raises(ConfigError, match=r"multiple of 4 processes times .* 2, came 12; take 16 "):
        train.check_processes(4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.cluster.clusters=5", "model.cluster.clusters is 5 now and was 4"),
        ("model.image.options.depth=2", "model.image.options.depth is 2 now and was 1"),
        ("tokenizer.vocab_size=290", "tokenizer.vocab_size is 290 now and was 300"),
        ("train.batch_size=10", "train.batch_size is 10 now and was 8 .*; resume with the conf"),
    ],
)
def test_another_run_is_refused_on_resume(override: str, message: str, finished_run: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        Trainer(tiny_config(override), out=finished_run, resume=True, console=quiet())


def test_a_mixed_tokenizer_is_refused_on_resume(own_run: Path) -> None:
    path = own_run / "tokenizer.json"
    other = Tokenizer.train(["words of another run"], vocab_size=290).to_json()
    path.write_text(other, "utf-8")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"expected in .*tokenizer.json the tokenizer that the"):
        Trainer(tiny_config(), out=own_run, resume=True, console=quiet())
    assert path.read_bytes() == before
    path.unlink()
    Trainer(tiny_config(), out=own_run, resume=True, console=quiet()).fit()


def test_what_does_not_change_the_run_may_change_on_resume(own_run: Path) -> None:
    changes = ("train.keep=5", "train.log_every=3", "train.device=cpu", "train.sample_images=1")
    trainer = Trainer(tiny_config(*changes), out=own_run, resume=True, console=quiet())
    trainer.fit()
    assert trainer.config.train.keep == 5
