"""The page about the views: its blocks run as printed, its picture is what its code draws."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

PAGE = Path(__file__).parents[3] / "docs" / "views.md"


def run(part: str, **names: Any) -> dict[str, Any]:
    """Run the block that follows the heading `part`, or the first one; give back its names."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", text[text.index(part) :], re.DOTALL)
    assert found is not None
    names["__name__"] = "page"
    exec(compile(found[1], f"{PAGE.name}: {part}", "exec"), names)
    return names


def test_the_picture_is_what_its_code_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("# Views on their own")
    drawn, kept = (
        np.asarray(Image.open(path).convert("RGB")).astype(float)
        for path in (tmp_path / "views.png", PAGE.parent / "views.png")
    )
    assert drawn.shape == kept.shape
    # Not to the bit: fonts, and rounding of other processors.
    assert np.abs(drawn - kept).mean() < 2


def test_the_loop_with_multicrop_learns() -> None:
    losses = run("## MultiCrop in a training loop")["losses"]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_the_loader_gives_batches_of_views() -> None:
    batches = run("### Photos in a data loader")["batches"]
    assert [tuple(b.local_views.shape) for b in batches] == [(4, 3, 3, 16, 16)] * 2


def test_the_loop_with_the_augmentation_learns() -> None:
    errors = run("## InvertibleAugmentation in a training loop")["errors"]
    assert sum(errors[-10:]) < 0.8 * sum(errors[:10])


def test_compositions_come_back() -> None:
    names = run("### Composition")
    torch.testing.assert_close(names["same"], names["images"], rtol=0, atol=1e-5)
    assert names["valid"].float().mean() > 0.5
    gain = names["params"].gain[:, :, None, None]
    coloured = names["images"] * gain + names["params"].bias[:, :, None, None]
    off = (names["features"] - coloured).abs() * names["valid"]
    assert float(off.median()) < 0.1


def test_every_block_is_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    before = [part.rpartition("\n#")[2].splitlines()[0] for part in text.split("```python")[:-1]]
    assert [heading.lstrip("# ") for heading in before] == [
        "Views on their own",
        "MultiCrop in a training loop",
        "Photos in a data loader",
        "InvertibleAugmentation in a training loop",
        "Composition",
    ]
