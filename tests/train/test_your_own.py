"""What docs/your-own.md shows trains as it stands."""

import json
import re
from pathlib import Path

import pytest
from tests.train.conftest import quiet, tiny_config

from vilseg_train import ConfigError, Trainer, load_config, open_run

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "your-own.md").read_text("utf-8")
LOSS, ENCODER = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LOSS_TABLE, ENCODER_TABLE = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path of modules, with those of the page."""
    (tmp_path / "my_losses.py").write_text(LOSS)
    (tmp_path / "my_encoders.py").write_text(ENCODER)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_loss_has_20_lines_and_trains(place: Path) -> None:
    assert len([line for line in LOSS.splitlines() if line.strip()]) <= 20
    file = place / "my.toml"
    whole = tiny_config("train.steps=2").to_toml().replace("extra = []\n", "")
    file.write_text(f"{whole}\n{LOSS_TABLE}")
    config = load_config(file)
    Trainer(config, out=place / "run", console=quiet()).fit()
    line = json.loads((place / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert 0 < line["smooth"] < 4


def test_the_encoder_trains_and_is_opened_again(place: Path) -> None:
    file = place / "my.toml"
    whole = tiny_config("train.steps=2").to_toml()
    before, rest = whole.split("[model.image]", 1)
    after = re.split(r"\n(?=\[(?!model\.image))", rest, maxsplit=1)[1]
    file.write_text(f"{before}{ENCODER_TABLE}\n{after}")
    config = load_config(file, overrides=["model.region_pooling=mean"])
    Trainer(config, out=place / "run", console=quiet()).fit()
    run = open_run(place / "run")
    assert type(run.model.image_encoder).__name__ == "Convolutions"
    assert run.model.image_encoder.patch_size == 4


def test_activations_of_ones_own_encoder_are_its_own_affair() -> None:
    with pytest.raises(ConfigError, match="checkpoint inside of it"):
        tiny_config("train.checkpoint_activations=true", "model.text.name=my_encoders:Letters")
