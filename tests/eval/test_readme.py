"""The example in the package's README runs as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "vilseg_eval" / "README.md"


def test_the_example_runs_and_leaves_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    code = "\n".join(blocks)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, str] = {}
    exec(code, scope)
    assert "mushroom*" in scope["table"]
    written = json.loads((tmp_path / "eval/world/results.json").read_text())
    assert written["protocols"]["all"]["miou"] < 0.2
    assert (tmp_path / "eval/world/report.html").stat().st_size > 10_000
