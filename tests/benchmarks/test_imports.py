"""The benchmarks stand on vilseg_core, or on the package they measure, and a few libraries.

Peers are loaded by name, if at all.
"""

import ast
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
ALLOWED = {"benchmarks", "vilseg_core", "torch", "numpy", "rich", "matplotlib", "pydantic"}
ABOVE = {
    "data": {"vilseg_data", "PIL"},
    "evaluation": {"vilseg_data", "vilseg_eval"},
    "training": {"vilseg_train"},
}


def imported(source: str) -> set[str]:
    """The top-level name of every module that an import statement names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_import_nothing_above_their_package(path: Path) -> None:
    allowed = ALLOWED | ABOVE.get(path.stem.partition("_")[0], set())
    assert imported(path.read_text("utf-8")) - set(sys.stdlib_module_names) <= allowed
