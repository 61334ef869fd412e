"""Write TOML: the inverse of `tomllib` for what a configuration holds."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def dumps(document: Mapping[str, Any]) -> str:
    """TOML text of nested dicts of bool, int, float, str and lists of these.

    `tomllib.loads(dumps(document)) == document`; TOML has no null, so None raises `ValueError`.
    """
    return "\n".join(_table(document, path=())).strip() + "\n"


def _table(
    table: Mapping[str, Any], *, path: tuple[str, ...], in_list: bool = False
) -> Iterator[str]:
    # Values stand before sub-tables: after a [header] everything belongs to that header.
    plain = {key: value for key, value in table.items() if not _is_section(value)}
    if path and not in_list and (plain or not table):
        yield f"\n[{_dotted(path)}]"
    for key, value in plain.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        inner = (*path, key)
        if isinstance(value, Mapping):
            yield from _table(value, path=inner)
        elif _is_section(value):
            for entry in value:
                yield f"\n[[{_dotted(inner)}]]"
                yield from _table(entry, path=inner, in_list=True)


def _is_section(value: Any) -> bool:
    """Whether a value has a header of its own: a table, or a list of nothing but tables."""
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(entry, Mapping) for entry in value)
    return isinstance(value, Mapping)


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(map(_key, path))


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _string(value)
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case Mapping():
            return f"{{{', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())}}}"
    raise ValueError(f"TOML cannot hold {value!r}; expected bool, int, float, str, list or dict")
