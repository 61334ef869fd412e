"""The examples of the package's README run as printed."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.data.captions.shard_files import write_shards

README = Path(__file__).parents[2] / "vilseg_data" / "README.md"
CAPTIONS = "Captions, labelled sets and the built-in world"


def example(section: str, *, number: int = 0) -> dict[str, Any]:
    text = README.read_text(encoding="utf-8").split(f"## {section}\n")[1]
    found = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(found[number], f"{README.name}: {section}", "exec"), names)
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


def test_the_example_of_a_loader() -> None:
    names = example(CAPTIONS)
    loader, batch = names["loader"], names["batch"]
    assert batch.images.shape == (32, 3, 64, 64)
    after = loader.next_batch()
    loader.load_state_dict(names["state"])
    assert torch.equal(loader.next_batch().images, after.images)


def test_the_example_of_a_stream(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, [40, 40])
    tokenizer = example("Tokenizer")["tokenizer"]
    keys = []
    for rank in range(2):
        loader = example(CAPTIONS, number=1)["batches"](
            f"{shards}/{{00000..00001}}.tar", tokenizer, rank=rank, world_size=2
        )
        keys += loader.next_batch().keys
        loader.close()
    assert len(set(keys)) == 64
