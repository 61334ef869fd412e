"""Objects named by text: "package.module:Name" in a configuration."""

from difflib import get_close_matches
from importlib import import_module
from typing import Any


def import_object(reference: str) -> Any:
    """What "package.module:Name" names; the module is imported.

    `Name` may be dotted, for what stands inside of a class. Importing runs the module's code: take
    references only from who may run code here.

    Raises:
        ValueError: the text has another form, the module cannot be imported or has no such name.
    """
    module_name, name = split_reference(reference)
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if f"{module_name}.".startswith(f"{missing}."):
            raise ValueError(
                f"{reference!r}: no module named {missing!r}; install it, or put the folder that "
                "holds it on PYTHONPATH."
            ) from error
        raise ValueError(
            f"{reference!r}: importing {module_name} needs {missing!r}, which is not there; "
            "install it."
        ) from error
    except Exception as error:
        raise ValueError(
            f"{reference!r}: importing {module_name} ended in {type(error).__name__}: {error}; "
            "repair the module."
        ) from error
    where = module_name
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{reference!r}: {where} has no {part!r}; {_guess(part, found)}.")
        found, where = getattr(found, part), f"{where}.{part}"
    return found


def split_reference(reference: str) -> tuple[str, str]:
    """Module and name of "package.module:Name"; ValueError for any other form."""
    module_name, colon, name = reference.partition(":")
    parts = [*module_name.split("."), *name.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise ValueError(
            f'expected "package.module:Name", came {reference!r}; name the module, a colon, and '
            "the class or function in it."
        )
    return module_name, name


def _guess(name: str, found: Any) -> str:
    public = [key for key in dir(found) if not key.startswith("_")]
    near = get_close_matches(name, public, n=1)
    return f"did you mean {near[0]!r}?" if near else "check the spelling"
