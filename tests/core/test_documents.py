"""Every example of the pages on the losses runs as it stands."""

import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("use-one-loss.md", "gradient-contract.md")
EXAMPLES = [
    pytest.param(page, number, code, id=f"{page}-{number}")
    for page in PAGES
    for number, code in enumerate(
        re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    )
]


@pytest.mark.parametrize(("page", "number", "code"), EXAMPLES)
def test_an_example_runs(page: str, number: int, code: str) -> None:
    torch.manual_seed(0)
    names: dict[str, object] = {}
    exec(compile(code, f"{page}, example {number}", "exec"), names)
    results = [value for value in names.values() if isinstance(value, torch.Tensor)]
    assert all(value.isfinite().all() for value in results)


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", (DOCS / page).read_text(encoding="utf-8")):
        if "://" not in target:
            assert (DOCS / target).exists(), target
