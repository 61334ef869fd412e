"""Losses as a configuration describes them: one plain table each."""

import inspect
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import partial
from typing import Any

from torch import Tensor, nn

from vilseg_core.importing import import_object, split_reference


@dataclass(frozen=True)
class LossTable:
    """One entry: its form is checked, what it names is not imported before `build`.

    Attributes:
        name: under which its value is reported.
        loss: "package.module:Name" of a class or a function.
        inputs: the outputs that are its positional arguments.
        weight: its factor in the total.
        keyword_inputs: argument -> output, for those it takes by name.
        options: arguments of the class, or further ones of the function.
        where: the entry, for messages.
    """

    name: str
    loss: str
    inputs: tuple[str, ...]
    weight: float = 1.0
    keyword_inputs: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every output that the loss takes."""
        return (*self.inputs, *self.keyword_inputs.values())

    def check_outputs(self, known: Collection[str]) -> None:
        """Refuse outputs that are not among `known`; ValueError names the nearest."""
        try:
            check_outputs(self.name, self.outputs, known)
        except ValueError as error:
            raise ValueError(f"{self.where}: {error}") from error

    def build(self) -> Callable[..., Tensor]:
        """Import and make what computes the loss.

        Raises:
            ValueError: it cannot be imported, is not callable or refuses the options.
        """
        named = import_object(self.loss)
        if not callable(named):
            raise ValueError(
                f"loss: expected a class or a function, came {self.loss!r}, which is "
                f"{type(named).__name__}; name what computes the loss."
            )
        try:
            made: Callable[..., Tensor]
            if isinstance(named, type):
                made = named(**self.options)
            else:
                made = partial(named, **self.options) if self.options else named
                signature = signature_of(named)
                if signature is not None:
                    signature.bind_partial(**self.options)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"options: expected arguments that {self.loss} takes, came {dict(self.options)}: "
                f"{error}; look at its signature."
            ) from error
        if not callable(made):
            raise ValueError(
                f"loss: expected a class whose objects can be called, came {self.loss!r}; give it "
                "forward (torch.nn.Module) or __call__."
            )
        return made


def signature_of(loss: Callable[..., Any]) -> inspect.Signature | None:
    """The arguments of a function or of a module's forward; None where Python cannot tell."""
    try:
        return inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss)
    except (TypeError, ValueError):
        return None


def check_outputs(name: str, wanted: Iterable[str], known: Collection[str]) -> None:
    """Refuse outputs for the loss `name` that are not among `known`; names the nearest."""
    for output in wanted:
        if output not in known:
            near = get_close_matches(output, list(known), n=1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(
                f"inputs: expected outputs among {', '.join(known) or 'none'}, came {output!r} for "
                f"the loss {name!r}; {guess}pass it, or change the inputs."
            )


def is_part_name(value: Any) -> bool:
    """Whether a part can be called so: a word that `torch.nn.ModuleDict` has no use for."""
    return isinstance(value, str) and value.isidentifier() and not hasattr(nn.ModuleDict, value)


def read_tables(tables: Iterable[Mapping[str, Any]]) -> list[LossTable]:
    """Check the form of each entry, and that no two have one name; nothing is imported.

    Raises:
        ValueError: says which entry is at fault, and what to do.
    """
    entries: list[LossTable] = []
    for number, table in enumerate(tables, start=1):
        entry = _read(table, number=number)
        if any(entry.name == other.name for other in entries):
            raise ValueError(f"{entry.where}: name: {entry.name!r} is taken; choose another.")
        entries.append(entry)
    return entries


def _read(table: Mapping[str, Any], *, number: int) -> LossTable:
    name = table.get("name") if isinstance(table, Mapping) else None
    where = f"entry {number} ({name!r})" if isinstance(name, str) else f"entry {number}"
    if not isinstance(table, Mapping):
        raise ValueError(f"{where}: expected a table, came {table!r}; {_EXAMPLE}")
    known = [f.name for f in fields(LossTable) if f.name != "where"]
    for key in table:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            guess = f"did you mean {near[0]!r}?" if near else f"an entry has: {', '.join(known)}."
            raise ValueError(f"{where}: unknown key {key!r}; {guess}")
    for key, (expected, fits) in _KINDS.items():
        if key not in table and key in ("name", "loss", "inputs"):
            raise ValueError(f"{where}: {key}: expected {expected}, came nothing; {_EXAMPLE}")
        if key in table and not fits(table[key]):
            raise ValueError(
                f"{where}: {key}: expected {expected}, came {table[key]!r}; {_EXAMPLE}"
            )
    try:
        split_reference(table["loss"])
    except ValueError as error:
        raise ValueError(f"{where}: loss: {error}") from error
    return LossTable(**(dict(table) | {"inputs": tuple(table["inputs"]), "where": where}))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_texts(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(map(_is_text, values))


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_text, value))


def _is_table_of_texts(value: Any) -> bool:
    return _is_table(value) and all(map(_is_text, value.values()))


_EXAMPLE = (
    'write {name = "cross", loss = "package.module:Name", weight = 1.0, '
    'inputs = ["image", "text"]}.'
)

# What each key holds, in words and as a test.
_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("letters, digits and underscores, and no name of torch.nn.ModuleDict's", is_part_name),
    "loss": ('"package.module:Name"', _is_text),
    "inputs": ("a list of names of outputs", _are_texts),
    "weight": ("a finite number", _is_number),
    "keyword_inputs": ("a table of argument = output", _is_table_of_texts),
    "options": ("a table of options", _is_table),
}
