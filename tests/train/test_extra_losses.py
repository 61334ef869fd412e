"""Losses of one's own in a run: configured by name, recorded, trained, saved, resumed."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.conftest import quiet, tiny_config
from tests.train.plugin_losses import agreement
from tests.train.runs import newest
from torch import Tensor

from vilseg_core.models import ViLSeg, build_model
from vilseg_train import ConfigError, RunConfig, Trainer, load_config, open_run
from vilseg_train.objectives import Objectives
from vilseg_train.outputs import OUTPUTS
from vilseg_train.stop import StopRequest

MODULE = "tests.train.plugin_losses"
SPREAD = f"""
[[loss.extra]]
name = "spread"
loss = "{MODULE}:Spread"
weight = 0.5
inputs = ["image"]
options = {{margin = 0.25}}

[[loss.extra]]
name = "agreement"
loss = "{MODULE}:agreement"
inputs = ["cluster_logits", "changed_cluster_logits"]
keyword_inputs = {{mask = "valid"}}
"""


def with_extra(path: Path, text: str = SPREAD) -> RunConfig:
    path.write_text(tiny_config().to_toml().replace("extra = []\n", "") + text, "utf-8")
    return load_config(path)


def extra(**changes: Any) -> str:
    """One entry as `--set` takes it."""
    entry = {"name": "own", "loss": f"{MODULE}:Spread", "inputs": ["image"], **changes}
    texts = (f"{key} = {json.dumps(value)}" for key, value in entry.items())
    return f"loss.extra=[{{{', '.join(texts)}}}]"


def test_a_run_records_trains_saves_and_resumes_them(tmp_path: Path) -> None:
    config = with_extra(tmp_path / "own.toml")
    assert config != tiny_config()
    Trainer(config, out=tmp_path / "whole", console=quiet()).fit()
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert all({"spread", "agreement", "cross"} <= set(json.loads(line)) for line in lines[:3])
    saved = newest(tmp_path / "whole").tensors
    assert saved["objectives/extra.losses.spread.margin"] != 0.25
    assert saved["objectives/extra.losses.spread.calls"] == 6
    assert "optimizer/exp_avg/objectives.extra.losses.spread.margin" in saved
    run = open_run(tmp_path / "whole")
    assert run.config.loss == config.loss
    assert load_config(tmp_path / "whole" / "config.toml") == run.config

    shorter = tmp_path / "parts"
    trainer = Trainer(config, out=shorter, console=quiet())
    with pytest.MonkeyPatch.context() as patch:
        inner = trainer._train_step

        def stopping(stop: StopRequest) -> int | None:
            if trainer.step == 4:
                raise InterruptedError
            return inner(stop)

        patch.setattr(trainer, "_train_step", stopping)
        with pytest.raises(InterruptedError):
            trainer.fit()
    Trainer(config, out=shorter, resume=True, console=quiet()).fit()
    again = newest(shorter).tensors
    assert [name for name, tensor in saved.items() if not torch.equal(tensor, again[name])] == []


def test_a_run_opens_where_its_losses_are_not_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lent_losses.py").write_text("def own(x): return x.square().mean()")
    config = tiny_config(extra(loss="lent_losses:own"), "train.steps=1")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        Trainer(config, out=tmp_path / "run", console=quiet()).fit()
    monkeypatch.delitem(sys.modules, "lent_losses")
    assert open_run(tmp_path / "run").step == 1
    with pytest.raises(ValueError, match=r"loss\.extra: entry 1 \('own'\): .* 'lent_losses'"):
        Trainer(config, out=tmp_path / "run", resume=True, console=quiet())


def built(*overrides: str) -> tuple[ViLSeg, Objectives]:
    config = tiny_config("model.text.vocab_size=300", "model.text.end_of_text=2", *overrides)
    torch.manual_seed(0)
    objectives = Objectives(
        config.loss,
        views=config.views,
        prototypes=config.model.prototypes,
        image_size=config.model.image.image_size,
    )
    return build_model(config.model), objectives


def step(model: ViLSeg, objectives: Objectives) -> tuple[Tensor, dict[str, Tensor]]:
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    tokens = torch.randint(3, 300, (5, 48), generator=torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(0)
    loss, parts = objectives(model, images, tokens=tokens, generator=generator, step=5, total=6)
    assert isinstance(loss, Tensor)
    return loss, parts


def test_the_total_is_the_plain_one_and_the_weighted_extra() -> None:
    plain, _ = step(*built())
    total, parts = step(*built(extra(weight=0.5)))
    torch.testing.assert_close(total, plain + 0.5 * parts["own"])
    off, parts = step(*built(extra(weight=0)))
    assert torch.equal(off, plain)
    assert "own" not in parts


def test_one_of_ones_own_may_be_the_only_loss() -> None:
    off = ("loss.cross=0", "loss.vision=0", "loss.cluster=0")
    model, objectives = built(extra(loss=f"{MODULE}:local_spread", inputs=["local_image"]), *off)
    loss, parts = step(model, objectives)
    assert parts.keys() == {"own"}
    torch.testing.assert_close(loss.detach(), parts["own"])
    with pytest.raises(ConfigError, match="cross, vision: expected a weight above 0"):
        tiny_config(extra(weight=0), *off)


def test_every_output_has_its_documented_shape() -> None:
    every = extra(loss=f"{MODULE}:size_of_all", inputs=list(OUTPUTS))
    model, objectives = built("model.cluster.heads=2", every)
    outputs = objectives.outputs_of(
        model,
        torch.rand(5, 3, 32, 32),
        tokens=torch.ones(5, 48, dtype=torch.int64),
        generator=None,
        step=0,
        total=6,
    )
    sizes = {"n": 5, "v": 2, "d": 24, "p": 8, "c": 4, "H": 32, "W": 32, "h": 4, "w": 4, "l": 48}
    assert list(outputs) == list(OUTPUTS)
    assert len(outputs) == len(OUTPUTS)
    for name, description in OUTPUTS.items():
        letters = description[1 : description.index(")")].split(", ")
        assert outputs[name].shape == tuple(sizes.get(x) or int(x) for x in letters), name
        assert outputs[name].data_ptr() == outputs[name].data_ptr(), "computed once"
    with pytest.raises(KeyError):
        outputs["heads"]


def test_the_agreement_is_that_of_the_outputs() -> None:
    entry = {
        "loss": f"{MODULE}:agreement",
        "inputs": ["cluster_logits", "changed_cluster_logits"],
    }
    override = extra(**entry)[:-2] + ', keyword_inputs = {mask = "valid"}, options = {power = 1}}]'
    model, objectives = built(override)
    _, parts = step(model, objectives)
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(0)
    tokens = torch.ones(5, 48, dtype=torch.int64)
    outputs = objectives.outputs_of(
        model, images, tokens=tokens, generator=generator, step=5, total=6
    )
    names = ("cluster_logits", "changed_cluster_logits")
    truth = agreement(*(outputs[name] for name in names), mask=outputs["valid"], power=1)
    torch.testing.assert_close(parts["own"], truth.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ["imag"]}, r"\('own'\): inputs: .* came 'imag' .*; did you mean 'image'\?"),
        ({"weigth": 1}, r"\('own'\): unknown key 'weigth'; did you mean 'weight'\?"),
        ({"name": "cross"}, r"\('cross'\): name: 'cross' is recorded already; choose another"),
        ({"name": "a b"}, r"name: expected letters, digits and underscores"),
        ({"loss": "nothing"}, r"loss: expected \"package.module:Name\", came 'nothing'"),
        ({"weight": "much"}, r"weight: expected a finite number, came 'much'"),
    ],
)
def test_a_configuration_is_refused_when_it_is_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=r"^loss\.extra: entry 1 .*" + message) as caught:
        tiny_config(extra(**changes))
    assert "\n" not in str(caught.value)


def test_other_forms_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^loss\.extra: expected a valid tuple, came 3"):
        tiny_config("loss.extra=3")
    with pytest.raises(ConfigError, match=r"^loss\.extra: expected a valid dictionary, came 3"):
        tiny_config("loss.extra=[3]")
    with pytest.raises(ConfigError, match=r"views\.num_local: .* or loss.extra takes local views"):
        tiny_config(extra(inputs=["local_image"]), "views.num_local=0", "loss.vision=0")
    assert tiny_config(extra(), "loss.extra=") == tiny_config()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "no_such.place:Loss"}, r"no module named 'no_such'; install it"),
        ({"loss": f"{MODULE}:Spred"}, r"has no 'Spred'; did you mean 'Spread'\?"),
        ({"inputs": ["image", "text"]}, r"inputs: expected those of \(image: .*too many"),
    ],
)
def test_a_loss_that_cannot_be_made_ends_before_anything_is_written(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"^loss\.extra: entry 1 \('own'\): .*" + message):
        Trainer(tiny_config(extra(**changes)), out=tmp_path / "run", console=quiet())
    assert not (tmp_path / "run").exists()
