"""Which segmenter a name means, and how it is built from what the user gave."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ValidationError

from vilseg_core.importing import import_object
from vilseg_data import ClassList
from vilseg_eval import (
    InferenceConfig,
    KMeansSegmenter,
    PatchSegmenter,
    PredictionFolder,
    Segmenter,
)
from vilseg_eval.prompts import PHOTO_TEMPLATE
from vilseg_train.device import choose_device
from vilseg_train.explain import explain
from vilseg_train.run import Run, open_run
from vilseg_train.selftrained import own_segmenter
from vilseg_train.words import warnings_about

_Options = TypeVar("_Options", bound=BaseModel)


@dataclass(frozen=True)
class _Request:
    """What a builder may need; `source` is what stands in the place of the run."""

    source: Path
    classes: ClassList
    words: tuple[str, ...]
    templates: tuple[str, ...]
    options: Mapping[str, Any]
    device: torch.device
    warn: Callable[[str], None]


class _KMeansOptions(InferenceConfig):
    clusters: int | None = None
    seed: int = 0
    restarts: int = 1


class _NoOptions(BaseModel):
    model_config = InferenceConfig.model_config


class _HuggingFaceOptions(_NoOptions):
    batch_size: int = 8


class _GroupViTOptions(_HuggingFaceOptions):
    assignment: Literal["soft", "hard"] = "soft"


def open_segmenter(
    name: str,
    source: Path,
    *,
    classes: ClassList,
    words: Sequence[str] | None = None,
    templates: Sequence[str] = (PHOTO_TEMPLATE,),
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    warn: Callable[[str], None] = lambda _: None,
) -> Segmenter:
    """The segmenter `name`, made from `source`.

    Args:
        name: one of `SEGMENTERS`, or "package.module:Name" of a factory of one's own, which is
            called as `Name(source, words, templates=..., device=..., **options)`.
        source: a run; for predictions a folder of label maps, for groupvit and clipseg what
            transformers' `save_pretrained` wrote, for one's own whatever it reads.
        classes: of the labelled set.
        words: what may be named; the prompts of the foreground classes by default.
        options: values, also as text, by the names of `InferenceConfig` (and for kmeans `clusters`,
            `seed`, `restarts`); groupvit takes `assignment` and `batch_size`, clipseg the latter.
        device: auto, cpu or cuda; where a model computes.
        warn: called with what is worth a warning.

    Raises:
        ValueError: the name, the source or an option cannot be used.
    """
    own = ":" in name
    if not own and name not in _BUILDERS:
        raise ValueError(
            f"--segmenter: expected one of {', '.join(SEGMENTERS)}, or package.module:Name, "
            f"came {name!r}"
        )
    request = _Request(
        source=source,
        classes=classes,
        words=tuple(words or (p for i, p in enumerate(classes.prompts) if i != classes.background)),
        templates=tuple(templates),
        options=options or {},
        device=choose_device(device, key="--device"),
        warn=warn,
    )
    return _own(name, request) if own else _BUILDERS[name](request)


def build_segmenter(
    name: str,
    run: Run,
    *,
    words: Sequence[str],
    templates: Sequence[str] = (PHOTO_TEMPLATE,),
    options: Mapping[str, Any] | None = None,
) -> Segmenter:
    """The segmenter `name` (vilseg, kmeans or patch) of an opened run; ValueError for others."""
    if name not in ("vilseg", "kmeans", "patch"):
        raise ValueError(f"name: expected vilseg, kmeans or patch, came {name!r}; choose of them")
    given = options or {}
    if name == "kmeans":
        parsed = _parsed(_KMeansOptions, given)
        own = {"clusters", "seed", "restarts"}
        return KMeansSegmenter(
            run.model,
            run.tokenizer,
            words,
            templates=templates,
            inference=InferenceConfig(**parsed.model_dump(exclude=own)),
            **parsed.model_dump(include=own),
        )
    inference = inference_of(given)
    if name == "vilseg":
        return own_segmenter(run, words, templates=templates, inference=inference)
    return PatchSegmenter(run.model, run.tokenizer, words, templates=templates, inference=inference)


def parse_options(pairs: Sequence[str]) -> dict[str, str]:
    """Values by name of "KEY=VALUE" texts; the last of a name counts.

    Raises:
        ValueError: a text has another form.
    """
    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip().isidentifier():
            raise ValueError(
                f"--segmenter-option: expected KEY=VALUE, came {pair!r}; write for instance "
                "window=224"
            )
        options[key.strip()] = value.strip()
    return options


def inference_of(options: Mapping[str, Any]) -> InferenceConfig:
    """The configuration that `options` name; ValueError says which key or value is at fault."""
    return _parsed(InferenceConfig, options)


def _of_run(name: str) -> Callable[[_Request], Segmenter]:
    def build(request: _Request) -> Segmenter:
        run = open_run(request.source)
        for warning in warnings_about(run, request.words):
            request.warn(warning)
        run.model.to(request.device)
        return build_segmenter(
            name, run, words=request.words, templates=request.templates, options=request.options
        )

    return build


def _predictions(request: _Request) -> Segmenter:
    _parsed(_NoOptions, request.options)
    return PredictionFolder(request.source, classes=request.classes)


def _hugging_face(name: str) -> Callable[[_Request], Segmenter]:
    def build(request: _Request) -> Segmenter:
        from vilseg_eval.segmenters.huggingface import CLIPSegSegmenter, GroupViTSegmenter

        if name == "clipseg":
            options: BaseModel = _parsed(_HuggingFaceOptions, request.options)
        else:
            options = _parsed(_GroupViTOptions, request.options)
        kind = CLIPSegSegmenter if name == "clipseg" else GroupViTSegmenter
        try:
            return kind.from_folder(
                request.source,
                request.words,
                templates=request.templates,
                device=request.device,
                **options.model_dump(),
            )
        except ImportError as error:
            raise ValueError(f"--segmenter {name}: {error}") from error

    return build


def _own(name: str, request: _Request) -> Segmenter:
    factory = import_object(name)
    if not callable(factory):
        raise ValueError(
            f"--segmenter: expected {name!r} to be a class or a function, came "
            f"{type(factory).__name__}; name what makes the segmenter"
        )
    made: Segmenter = factory(
        request.source,
        request.words,
        templates=request.templates,
        device=request.device,
        **request.options,
    )
    lacking = [part for part in _PARTS if not hasattr(made, part)]
    if lacking:
        raise ValueError(
            f"--segmenter: what {name!r} makes has no {', '.join(lacking)}; a segmenter has "
            f"{', '.join(_PARTS)} (see vilseg_eval.Segmenter)"
        )
    return made


def _parsed(model: type[_Options], options: Mapping[str, Any]) -> _Options:
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        raise ValueError(explain(error, model)) from error


_PARTS = ("name", "words", "templates", "segment")
_BUILDERS: dict[str, Callable[[_Request], Segmenter]] = {
    "vilseg": _of_run("vilseg"),
    "kmeans": _of_run("kmeans"),
    "patch": _of_run("patch"),
    "predictions": _predictions,
    "groupvit": _hugging_face("groupvit"),
    "clipseg": _hugging_face("clipseg"),
}
SEGMENTERS = tuple(_BUILDERS)
