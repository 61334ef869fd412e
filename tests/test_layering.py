"""Imports point downwards only: core and data know nothing of vilseg, eval both, train all."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BELOW: dict[str, set[str]] = {
    "vilseg_core": set(),
    "vilseg_data": set(),
    "vilseg_eval": {"vilseg_core", "vilseg_data"},
    "vilseg_train": {"vilseg_core", "vilseg_data", "vilseg_eval"},
}
# Each of these is met in few places, so that leaving it out or replacing it stays possible.
ONLY_IN: dict[str, set[str]] = {
    "torch.distributed": {
        "vilseg_core/src/vilseg_core/distributed.py",  # for losses
        "vilseg_train/src/vilseg_train/parallel.py",  # for runs
    },
}


def imports(source: str) -> Iterator[str]:
    """Every module named by an import statement, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def upward(package: str, source: str) -> set[str]:
    """The vilseg packages that `source`, a file of `package`, imports and must not."""
    allowed = BELOW[package] | {package}
    tops = {name.partition(".")[0] for name in imports(source)}
    return {top for top in tops if top in BELOW and top not in allowed}


@pytest.mark.parametrize("package", BELOW)
def test_imports_point_down(package: str) -> None:
    files = sorted((ROOT / package / "src").rglob("*.py"))
    assert files
    wrong = {
        str(f.relative_to(ROOT)): bad for f in files if (bad := upward(package, f.read_text()))
    }
    assert not wrong


@pytest.mark.parametrize("module", ONLY_IN)
def test_some_modules_are_met_in_one_place(module: str) -> None:
    files = (f for package in BELOW for f in (ROOT / package / "src").rglob("*.py"))
    met = {
        str(f.relative_to(ROOT))
        for f in files
        if any(name == module or name.startswith(f"{module}.") for name in imports(f.read_text()))
    }
    assert met == ONLY_IN[module]


def test_an_upward_import_is_caught() -> None:
    assert upward("vilseg_data", "def f():\n    from vilseg_core import functional\n") == {
        "vilseg_core"
    }
    assert upward("vilseg_eval", "import vilseg_train.config") == {"vilseg_train"}
    assert upward("vilseg_train", "import vilseg_core, vilseg_data, vilseg_eval") == set()
