"""The examples of the package's README run as printed."""

import re
from pathlib import Path

import pytest
import torch

README = Path(__file__).parents[3] / "vilseg_data" / "README.md"


def example(section: str) -> dict[str, object]:
    text = README.read_text(encoding="utf-8").split(f"## {section}\n")[1]
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    names: dict[str, object] = {}
    exec(compile(found[1], f"{README.name}: {section}", "exec"), names)
    return names


def test_the_example_of_the_views(capsys: pytest.CaptureFixture[str]) -> None:
    names = example("Views")
    assert "torch.Size([8, 3, 64, 64]) torch.Size([6, 8, 3, 24, 24])" in capsys.readouterr().out
    restored, valid = names["restored"], names["valid"]
    assert isinstance(restored, torch.Tensor)
    assert isinstance(valid, torch.Tensor)
    assert restored.shape == (8, 3, 8, 8)
    patch = names["patch"]
    assert isinstance(patch, torch.Tensor)
    assert patch.shape == (6, 8, 3, 3)
    assert set(patch.flatten().tolist()) <= set(range(-1, 64))
    assert 0.3 < float(valid.float().mean()) < 1


def test_the_example_of_the_tokenizer(capsys: pytest.CaptureFixture[str]) -> None:
    names = example("Tokenizer")
    assert capsys.readouterr().out == "a sleeping dog\n"
    tokens = names["tokens"]
    assert isinstance(tokens, torch.Tensor)
    assert tokens.shape == (2, 16)
