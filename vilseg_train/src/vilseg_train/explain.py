"""Turn what pydantic says about a configuration into lines a user can act on."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One line for each fault: the dotted key, what was expected, what came, the nearest key."""
    return "\n".join(_explain_one(fault, model) for fault in error.errors(include_url=False))


def nearest(key: str, model: type[BaseModel]) -> str | None:
    """The known dotted key nearest to the unknown `key`: beside it first, then anywhere."""
    known = list(dotted_keys(model))
    section, _, name = key.rpartition(".")
    beside = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == section}
    for match in get_close_matches(name, beside, n=1):
        return beside[match]
    same_name = [k for k in known if k.rpartition(".")[2] == name]
    close = same_name or get_close_matches(key, known, n=1, cutoff=0.5)
    if close:
        return close[0]
    names = {k.rpartition(".")[2]: k for k in known}
    return next((names[match] for match in get_close_matches(name, names, n=1)), None)


def dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a configuration model, sections and values, depth first."""
    for name, info in model.model_fields.items():
        yield f"{prefix}{name}"
        section = submodel(info)
        if section is not None:
            yield from dotted_keys(section, f"{prefix}{name}.")


def submodel(info: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a section of the configuration, None for a value."""
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _explain_one(fault: Mapping[str, Any], model: type[BaseModel]) -> str:
    key = _dotted(fault["loc"], model)
    message = str(fault["msg"])
    if fault["type"] == "extra_forbidden":
        near = nearest(key, model)
        return f"unknown key {key}" + (f"; did you mean {near}?" if near else "")
    if fault["type"] == "value_error":
        # A check of one of the models: its text is already meant for the user.
        text = message.removeprefix("Value error, ")
        return f"{key}: {text}" if key else text
    if fault["type"] == "missing":
        return f"{key}: a value is required"
    if fault["type"] in ("model_type", "model_attributes_type"):
        message = "Input should be a section with keys of its own"
    expected = message.replace("Input should be ", "expected ", 1)
    return f"{key}: {expected}, came {fault['input']!r}"


def _dotted(location: Sequence[str | int], model: type[BaseModel]) -> str:
    """The dotted key of an error: pydantic adds the tried member of a union, which is no key."""
    parts: list[str] = []
    section: type[BaseModel] | None = model
    for part in location:
        if section is None:
            break
        parts.append(str(part))
        info = section.model_fields.get(str(part))
        section = submodel(info) if info is not None else None
    return ".".join(parts)
