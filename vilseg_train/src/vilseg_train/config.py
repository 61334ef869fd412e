"""The configuration of a run: one frozen tree, read from a preset or a TOML file."""

import tomllib
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vilseg_core.models import ModelConfig
from vilseg_data import CaptionsConfig, Tokenizer, TokenizerConfig, ViewsConfig
from vilseg_train import toml_writer
from vilseg_train.explain import dotted_keys, explain
from vilseg_train.objectives import LossConfig
from vilseg_train.optim import OptimConfig
from vilseg_train.selftrain_config import SelfTrainConfig


class ConfigError(ValueError):
    """A configuration that cannot be used; one line for each fault."""


class TrainConfig(BaseModel):
    """The course of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(1600, gt=0)
    batch_size: int = Field(32, gt=1, description="images a step, of all processes together")
    accumulate: int = Field(
        1, gt=0, description="batches a step: each of batch_size / accumulate, contrasted by itself"
    )
    cache_chunk: int = Field(
        0, ge=0, description="rows of a process that are encoded at a time; 0: all of them"
    )
    precision: Literal["fp32", "bf16", "fp64"] = Field("fp32", description="bf16: by autocast")
    compile: bool = Field(False, description="run the encoders through torch.compile")
    checkpoint_activations: bool = Field(
        False, description="compute activations again in the backward pass, a third more time"
    )
    log_every: int = Field(20, gt=0)
    checkpoint_every: int = Field(400, gt=0)
    keep: int = Field(2, gt=0, description="checkpoints kept, the newest")
    sample_every: int = Field(400, gt=0, description="steps between pictures of segmented images")
    sample_images: int = Field(8, ge=0, description="images in such a picture; 0: no pictures")
    retrieval_images: int = Field(1000, ge=0, description="validation images; 0: no retrieval")
    threads: int = Field(0, ge=0, description="CPU threads of torch; 0: torch's own choice")
    device: str = Field("auto", description="auto: a GPU a process, or the CPU")
    processes: int = Field(1, ge=1, description="what it is made for; --dry-run counts with it")
    max_nonfinite: int = Field(
        10, gt=0, description="steps in a row without a finite loss, then back to a checkpoint"
    )
    max_rollbacks: int = Field(3, ge=0, description="how often a run goes back; then it ends")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.batch_size % self.accumulate or self.batch_size == self.accumulate:
            raise ValueError(
                f"batch_size: expected a multiple of accumulate ({self.accumulate}), at least 2 "
                f"times as large, came {self.batch_size}; "
                f"take {max(2, round(self.batch_size / self.accumulate)) * self.accumulate}"
            )
        return self

    def check_processes(self, count: int) -> None:
        """Refuse a batch that `count` processes cannot share evenly; ValueError."""
        each = self.accumulate * count
        if self.batch_size % each:
            raise ConfigError(
                f"train.batch_size: expected a multiple of {count} processes times "
                f"train.accumulate {self.accumulate}, came {self.batch_size}; take "
                f"{max(1, round(self.batch_size / each)) * each} or another number of processes"
            )


class RunConfig(BaseModel):
    """Everything that decides a run; saved in its folder and in each of its checkpoints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "run"
    seed: int = Field(0, ge=0)
    model: ModelConfig = ModelConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    data: CaptionsConfig = CaptionsConfig()
    views: ViewsConfig = ViewsConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    self_train: SelfTrainConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.views.global_size not in (0, self.model.image.image_size):
            raise ValueError(
                f"views.global_size: expected model.image.image_size ({self.model.image.image_size}"
                f"), at which images are segmented later, came {self.views.global_size}; make them "
                "equal or leave views.global_size out"
            )
        if self.loss.local_views and self.views.num_local < 1:
            raise ValueError(
                f"views.num_local: expected at least 1 while loss.vision is {self.loss.vision} or "
                f"loss.extra takes local views, came {self.views.num_local}; give local views or "
                "set loss.vision=0"
            )
        patch = self.model.image.patch_size
        if self.loss.local_views and patch is not None and self.views.local_size % patch:
            near = max(1, round(self.views.local_size / patch)) * patch
            raise ValueError(
                f"views.local_size: expected a multiple of the patch size {patch}, came "
                f"{self.views.local_size}; set it to {near}"
            )
        own = [name for name in (self.model.image.name, self.model.text.name) if ":" in name]
        if own and self.train.checkpoint_activations:
            raise ValueError(
                "train.checkpoint_activations: expected false with an encoder of your own, came "
                f"true with {own[0]}; checkpoint inside of it, and set this to false"
            )
        return self

    def with_tokenizer(self, tokenizer: Tokenizer) -> Self:
        """This configuration with the text encoder's vocabulary as `tokenizer` has it."""
        text = self.model.text.model_copy(
            update={
                "vocab_size": tokenizer.vocab_size,
                "context_length": tokenizer.context_length,
                "end_of_text": tokenizer.end_of_text,
            }
        )
        model = self.model.model_copy(update={"text": text})
        return self.model_copy(update={"model": model})

    def to_toml(self) -> str:
        """TOML text that reads back to an equal configuration; what is None is left out."""
        return toml_writer.dumps(self.model_dump(mode="json", exclude_none=True))

    def overridden(self, overrides: Sequence[str]) -> "RunConfig":
        """This configuration with `overrides` applied, as in `load_config`."""
        document = self.model_dump(mode="json", exclude_none=True)
        for override in overrides:
            _apply(document, override)
        return parse_config(document)

    def differing_key(
        self, other: Self, *, but: Collection[str] = ()
    ) -> tuple[str, Any, Any] | None:
        """The first dotted key, `but` for some, in which two configurations differ, with both
        values."""
        own, its = _flat(self.model_dump(mode="json")), _flat(other.model_dump(mode="json"))
        for key in [*own, *(key for key in its if key not in own)]:
            if key not in but and own.get(key) != its.get(key):
                return key, own.get(key), its.get(key)
        return None


def preset_names() -> list[str]:
    """The presets that come with vilseg."""
    folder = files("vilseg_train") / "presets"
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name[-5:] == ".toml")


def load_config(source: str | Path, *, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a preset (by name) or a TOML file, then apply `overrides`, each "a.b=value".

    An override's value is read as TOML (`true`, `3`, `[0.9, 0.98]`) or, failing that, as plain
    text; an empty one takes the key back to its default. `ConfigError` says in one line each:
    unknown presets and keys, with the nearest known one, and values of the wrong kind.
    """
    document = _read(source)
    for override in overrides:
        _apply(document, override)
    return parse_config(document)


def parse_config(document: Mapping[str, Any]) -> RunConfig:
    """A configuration from nested dicts; `ConfigError` as `load_config` raises it."""
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(explain(error, RunConfig)) from error


def _read(source: str | Path) -> dict[str, Any]:
    if isinstance(source, str) and source in preset_names():
        text = (files("vilseg_train") / "presets" / f"{source}.toml").read_text("utf-8")
    elif Path(source).suffix == ".toml":
        try:
            text = Path(source).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError(f"cannot read the configuration {source}: {reason}") from error
    else:
        names = preset_names()
        near = get_close_matches(str(source), names, n=1, cutoff=0.4)
        guess = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(
            f"unknown preset {str(source)!r}; {guess}Presets: {', '.join(names)}; "
            "or give a file that ends in .toml"
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not TOML: {error}") from error


def _apply(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(f"--set expects key=value with a dotted key, came {override!r}")
    section = document
    for index, part in enumerate(path[:-1]):
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            outer = ".".join(path[: index + 1])
            raise ConfigError(f"unknown key {key.strip()}; {outer} is a value, not a section")
    if text.strip():
        section[path[-1]] = _override_value(text.strip())
    elif path[-1] in section:
        del section[path[-1]]
    elif key.strip() not in dotted_keys(RunConfig):
        # Not a key that has its default already: the models will say that there is none such.
        section[path[-1]] = ""


def _override_value(text: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # More than one key means that the text went on past a value, over a line break.
    return document["value"] if len(document) == 1 else text


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
