import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "vilseg_train" / "README.md"


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [example] = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, str(README), "exec"), names)
    assert (tmp_path / "runs" / "quick" / "config.toml").exists()
    assert getattr(names["segmenter"], "words", None) == ("grass", "brick", "ball")
