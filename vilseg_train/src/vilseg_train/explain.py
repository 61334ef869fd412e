"""Turn what pydantic says about a configuration into lines a user can act on."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One line for each key at fault: what was expected, what came, the nearest known key."""
    lines: dict[str, str] = {}
    for fault in error.errors(include_url=False):
        key = _dotted(fault["loc"], model)
        line = _explain_one(fault, key=key, model=model)
        if key in lines and fault["type"] != "value_error":
            # A union reports once for each kind that it tried.
            kind = line.removeprefix(f"{key}: expected ").partition(",")[0]
            lines[key] = lines[key].replace("expected ", f"expected {kind} or ", 1)
        else:
            lines[key] = line
    return "\n".join(lines.values())


def nearest(key: str, model: type[BaseModel]) -> str | None:
    """The known dotted key nearest to the unknown `key`: beside it first, then anywhere."""
    known = list(dotted_keys(model))
    section, _, name = key.rpartition(".")
    beside = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == section}
    for match in get_close_matches(name, beside, n=1):
        return beside[match]
    same_name = [k for k in known if k.rpartition(".")[2] == name]
    elsewhere = [
        k for k in known if k not in beside.values() and not f"{section}.".startswith(f"{k}.")
    ]
    close = same_name or get_close_matches(key, elsewhere, n=1, cutoff=0.7)
    return close[0] if close else None


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
    if get_origin(kind) is UnionType:
        # A section that may be left out.
        [kind, *others] = [one for one in get_args(kind) if one is not NoneType]
        if others:
            return None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _explain_one(fault: Mapping[str, Any], *, key: str, model: type[BaseModel]) -> str:
    message = str(fault["msg"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key}; {_hint(key, model)}"
    if fault["type"] == "value_error":
        # A check of one of the models: its text is already meant for the user.
        text = message.removeprefix("Value error, ")
        return f"{key}: {text}" if key else text
    if fault["type"] == "missing":
        message = "Input should be a longer list"
    if fault["type"] in ("model_type", "model_attributes_type"):
        message = "Input should be a section with keys of its own"
    expected = message.replace("Input should be ", "expected ", 1)
    return f"{key}: {expected}, came {fault['input']!r}"


def _hint(key: str, model: type[BaseModel]) -> str:
    near = nearest(key, model)
    if near is not None:
        return f"did you mean {near}?"
    section = key.rpartition(".")[0]
    beside = [k for k in dotted_keys(model) if k.rpartition(".")[0] == section]
    names = ", ".join(k.rpartition(".")[2] for k in beside)
    return f"{section or 'a configuration'} has: {names}"


def _dotted(location: Sequence[str | int], model: type[BaseModel]) -> str:
    """The dotted key of an error: pydantic adds the tried member of a union, which is no key."""
    parts: list[str] = []
    section: type[BaseModel] | None = model
    free = False
    for part in location:
        if section is None and not free:
            break
        parts.append(str(part))
        info = section.model_fields.get(str(part)) if section is not None else None
        section = submodel(info) if info is not None else None
        free = info is not None and get_origin(info.annotation) is dict
    return ".".join(parts)
