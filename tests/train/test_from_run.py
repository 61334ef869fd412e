"""`ViLSeg.from_run` reads what the trainer writes, and says what is wrong with anything else."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vilseg_core.models import ViLSeg
from vilseg_data import Tokenizer
from vilseg_eval import ViLSegSegmenter
from vilseg_train import open_run


def test_it_is_the_model_of_the_run(finished_run: Path) -> None:
    run, model = open_run(finished_run), ViLSeg.from_run(finished_run)
    assert not model.training
    assert model.config == run.model.config
    own, other = model.state_dict(), run.model.state_dict()
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)
    tokenizer = Tokenizer.load(finished_run / "tokenizer.json")
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    answers = [
        ViLSegSegmenter(m, t, ["grass", "ball"]).segment([image])[0].labels([0, 1])
        for m, t in ((model, tokenizer), (run.model, run.tokenizer))
    ]
    assert torch.equal(*answers)


def test_a_checkpoint_may_be_named(finished_run: Path) -> None:
    [*_, older, newest] = sorted((finished_run / "checkpoints").iterdir())
    old, new = ViLSeg.from_run(older), ViLSeg.from_run(str(newest))
    assert not torch.equal(old.projection.weight, new.projection.weight)
    assert torch.equal(new.projection.weight, ViLSeg.from_run(finished_run).projection.weight)


def test_what_is_no_run_is_refused(own_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="which has no checkpoints; give the --out"):
        ViLSeg.from_run(tmp_path)
    other = tmp_path / "other.safetensors"
    save_file({"model/a": torch.zeros(1)}, other)
    with pytest.raises(ValueError, match="does not say what model it holds"):
        ViLSeg.from_run(other)
    newest = sorted((own_run / "checkpoints").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.raises(ValueError, match="which cannot be read"):
        ViLSeg.from_run(own_run)
    shutil.rmtree(own_run / "checkpoints")
    with pytest.raises(ValueError, match="which has no checkpoints"):
        ViLSeg.from_run(own_run)
