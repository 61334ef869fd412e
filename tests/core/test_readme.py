"""The examples of the package's README run as they stand."""

import re
from pathlib import Path

import pytest
import torch

README = Path(__file__).parents[2] / "vilseg_core" / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_losses() -> None:
    names: dict[str, torch.Tensor] = {}
    exec(EXAMPLES[0], names)
    assert names["loss"].isfinite()


def test_the_model() -> None:
    pytest.importorskip("timm")
    pytest.importorskip("pydantic")
    names: dict[str, torch.Tensor] = {}
    exec(EXAMPLES[1], names)
    assert names["pixels"].shape == (2, 192, 8, 8)
    assert names["pooled"].shape == (2, 192)
    assert names["regions"].shape == (2, 25, 192)
