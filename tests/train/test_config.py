import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from tests.train.conftest import tiny_config

from vilseg_data import Tokenizer
from vilseg_train import ConfigError, RunConfig, load_config
from vilseg_train.config import parse_config, preset_names
from vilseg_train.explain import dotted_keys, submodel

NEEDED = {name: ["data.root=photos"] for name in ("flickr8k", "flickr8k-gpu")}


@pytest.mark.parametrize("name", preset_names())
def test_presets_read_back(name: str, tmp_path: Path) -> None:
    config = load_config(name, overrides=NEEDED.get(name, ()))
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(), "utf-8")
    assert config.name == name
    assert load_config(path) == config
    assert config.differing_key(load_config(str(path))) is None


def test_there_are_the_promised_presets() -> None:
    assert {"world", "flickr8k"} <= set(preset_names())


@given(
    lr=st.floats(1e-12, 1e3),
    name=st.text(st.characters(exclude_categories=["Cs"])),
    betas=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
    split=st.none() | st.text("abc", min_size=1),
    options=st.dictionaries(
        st.sampled_from(["depth", "qkv_bias", "init_values", "act_layer"]),
        st.booleans() | st.integers(1, 9) | st.floats(0, 1) | st.text("xyz"),
    ),
)
def test_any_configuration_reads_back(
    lr: float,
    name: str,
    betas: tuple[float, float],
    split: str | None,
    options: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    config = parse_config(
        {
            "name": name,
            "optim": {"lr": lr, "betas": list(betas)},
            "data": {"validation_split": split},
            "model": {"image": {"options": options}},
        }
    )
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_text(config.to_toml(), "utf-8")
    assert load_config(path) == config


def _values(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for name, info in model.model_fields.items():
        section = submodel(info)
        if section is None:
            yield f"{prefix}{name}", info.annotation, info.default
        else:
            yield from _values(section, f"{prefix}{name}.")


def test_none_is_only_ever_a_default() -> None:
    # TOML has no null: what is left out must mean None where None is possible.
    optional = {
        key: default
        for key, kind, default in _values(RunConfig)
        if get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)
    }
    assert "data.root" in optional
    assert set(optional.values()) == {None}


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("optim.warmup=1", "optim.warmup_steps"),
        ("model.image.pool=x", "model.image.pooling"),
        ("lr=1", "optim.lr"),
        ("batch_size=1", "train.batch_size"),
        ("optin=1", "optim"),
        ("loss.clusters=1", "loss.cluster"),
        ("train.stepz=3", "train.steps"),
        ("data.imagesize=32", "data.image_size"),
        ("model.imagesize=32", "model.image"),
    ],
)
def test_unknown_keys_name_the_nearest(override: str, near: str) -> None:
    key = override.partition("=")[0]
    with pytest.raises(ConfigError, match=f"^unknown key {key}; did you mean {near}\\?$"):
        load_config("world", overrides=[override])


def test_keys_near_to_nothing_list_those_beside_them() -> None:
    with pytest.raises(ConfigError, match=r"^unknown key optim.xyz; optim has: lr, head_lr, "):
        load_config("world", overrides=["optim.xyz=1"])
    with pytest.raises(ConfigError, match=r"^unknown key xyz; a configuration has: name, seed, "):
        load_config("world", overrides=["xyz=1"])


@pytest.mark.parametrize(
    ("override", "near"),
    [("optim.lrr=", "optim.lr"), ("data.validaton_split=", "data.validation_split")],
)
def test_an_unknown_key_has_no_default_to_go_back_to(override: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"^unknown key {override[:-1]}; did you mean {near}\\?$"):
        load_config("world", overrides=[override])


@given(st.sampled_from(sorted(dotted_keys(RunConfig))), st.data())
def test_a_slip_of_one_letter_finds_its_key(key: str, data: st.DataObject) -> None:
    section, _, name = key.rpartition(".")
    if len(name) < 4:
        return
    at = data.draw(st.integers(1, len(name) - 1))
    slip = f"{name[:at]}{name[at + 1 :]}"
    wrong = f"{section}.{slip}" if section else slip
    if wrong in set(dotted_keys(RunConfig)):
        return
    document: dict[str, Any] = {slip: 1}
    for part in reversed(section.split(".") if section else []):
        document = {part: document}
    with pytest.raises(ConfigError, match=f"unknown key {wrong}; did you mean {key}\\?"):
        parse_config(document)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optim.lr=fast", "optim.lr: expected a valid number.*, came 'fast'"),
        ("optim.lr=-1", "optim.lr: expected greater than 0, came -1"),
        ("train.steps=1.5", "train.steps: expected a valid integer.*, came 1.5"),
        ("optim.betas=[0.9]", r"optim.betas: expected a longer list, came \[0.9\]"),
        ("optim.betas=[0.9, 0.9, 1]", r"optim.betas: Tuple should have at most 2 items"),
        ("optim.betas=[0.9, 2.0]", r"optim: betas: expected two numbers in \[0, 1\)"),
        ("loss.vision_targets=ema", "loss.vision_targets: expected 'sinkhorn'.*, came 'ema'"),
        ("optim=3", "optim: expected a section with keys of its own, came 3"),
        (
            "model.image.options.depth=[1]",
            r"model.image.options.depth: expected (a valid \w+ or ){3}a valid \w+, came \[1\]",
        ),
    ],
)
def test_mistyped_values_say_key_expected_and_came(override: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"^{expected}") as caught:
        load_config("world", overrides=[override])
    assert "\n" not in str(caught.value)


def test_every_fault_has_its_line() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("world", overrides=["optim.lr=fast", "train.stepz=3", "seed=-1"])
    assert len(str(caught.value).splitlines()) == 3


def test_unknown_preset_lists_the_presets_and_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown preset 'wrold'; did you mean world\?.*flickr8k"
    ):
        load_config("wrold")


def test_missing_and_broken_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none.toml: No such file"):
        load_config(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = = 3")
    with pytest.raises(ConfigError, match=r"broken.toml is not TOML: "):
        load_config(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(broken)


@pytest.mark.parametrize("override", ["seed", "=3", "a..b=3"])
def test_overrides_need_key_and_value(override: str) -> None:
    with pytest.raises(ConfigError, match="--set expects key=value"):
        load_config("world", overrides=[override])


def test_override_through_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown key seed.x; seed is a value, not a section"):
        load_config("world", overrides=["seed.x=3"])


def test_overrides_read_toml_or_text_and_empty_means_default() -> None:
    config = load_config(
        "world",
        overrides=[
            "seed=7",
            "optim.lr=.5",
            "optim.betas=[0.5, 0.6]",
            "loss.symmetric=true",
            "name=two words = fine",
            "data.validation_split=",
        ],
    )
    assert (config.seed, config.optim.lr, config.optim.betas) == (7, 0.5, (0.5, 0.6))
    assert config.loss.symmetric
    assert config.name == "two words = fine"
    assert config.data.validation_split is None
    assert load_config("flickr8k", overrides=["data.root=some/where"]).data.root == Path(
        "some/where"
    )
    assert config.overridden(["seed=8"]).seed == 8


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["views.num_local=0"], "views.num_local: expected at least 1"),
        (["views.global_size=64"], "views.global_size: expected model.image.image_size"),
        (["views.local_size=20"], "views.local_size: expected a multiple of the patch size 8"),
        (["loss.cross=0", "loss.vision=0"], "loss: cross, vision: expected a weight above 0"),
    ],
)
def test_bad_combinations_are_refused_with_the_remedy(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        tiny_config(*overrides)
    tiny_config("views.num_local=0", "loss.vision=0")


def test_the_tokenizer_decides_the_vocabulary() -> None:
    tokenizer = Tokenizer.train(["a dog on grass"], vocab_size=300, context_length=9)
    text = tiny_config().with_tokenizer(tokenizer).model.text
    assert text.vocab_size == tokenizer.vocab_size
    assert (text.context_length, text.end_of_text) == (9, tokenizer.end_of_text)
    assert text.width == 16


def test_differing_key_is_the_first_with_both_values() -> None:
    config = tiny_config()
    assert config.differing_key(config) is None
    assert config.differing_key(tiny_config("optim.lr=1.0")) == ("optim.lr", 2e-3, 1.0)
    more = tiny_config("model.image.options.qkv_bias=false")
    assert config.differing_key(more) == ("model.image.options.qkv_bias", None, False)
    assert more.differing_key(config) == ("model.image.options.qkv_bias", False, None)
