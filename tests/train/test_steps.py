"""One step: caching, accumulation, precision and compilation, and what they leave equal."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.core.allocations import allocations
from tests.train.conftest import quiet, tiny_config
from torch import Tensor

from vilseg_train import Trainer
from vilseg_train.step import generator_of
from vilseg_train.stop import StopRequest

# Local views of the global size, since timm resamples positions in float32.
ALL_LOSSES = (
    "loss.cluster_start=0",
    "loss.cluster_gradient=encoder",
    "optim.clip=0",
    "views.local_size=32",
)


def trainer_of(out: Path, *overrides: str) -> Trainer:
    return Trainer(
        tiny_config("train.precision=fp64", *ALL_LOSSES, *overrides), out=out, console=quiet()
    )


def gradients(trainer: Trainer) -> dict[str, Tensor]:
    """Those of the first step, before anything else was done to them."""
    with StopRequest() as stop:
        result = trainer.stepper.run(trainer._ahead.take(), step=0, stop=stop)
    assert result.values is not None
    return {
        name: parameter.grad.clone()
        for module in (trainer.model, trainer.objectives)
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def assert_close(a: dict[str, Tensor], b: dict[str, Tensor], *, atol: float) -> None:
    assert a.keys() == b.keys()
    for name, gradient in a.items():
        torch.testing.assert_close(gradient, b[name], rtol=0, atol=atol, msg=name)


def peak(trainer: Trainer) -> tuple[int, dict[str, Tensor]]:
    """The most that the first step holds at once, in bytes, beyond the weights and the views."""
    [batch] = trainer._ahead.take()
    views = trainer.objectives.draw(
        batch.images.double() / 255, generator=generator_of(0, 0), step=0, total=6
    )
    trainer.objectives.draw = lambda *_, **__: views  # type: ignore[method-assign]
    drawn = batch._replace(images=batch.images[:, :, :1, :1])
    trainer._ahead.take = lambda: [drawn]  # type: ignore[method-assign]
    found: dict[str, Tensor] = {}
    held = most = 0
    for size in allocations(lambda: found.update(gradients(trainer))):
        held += size
        most = max(most, held)
    return most, found


def test_a_cached_step_of_512_is_the_plain_one_in_a_quarter_of_its_memory(tmp_path: Path) -> None:
    # Deep enough that activations, not features, fill the memory, as in every real encoder.
    config = (
        "train.batch_size=512",
        "data.count=512",
        "model.image.options.depth=5",
        "model.text.layers=1",
        "model.text.heads=2",
    )
    plain, wanted = peak(trainer_of(tmp_path / "plain", *config))
    cached, found = peak(trainer_of(tmp_path / "cached", "train.cache_chunk=32", *config))
    assert_close(found, wanted, atol=1e-10)
    assert cached <= plain / 4


def test_a_step_of_several_batches_is_the_mean_of_theirs(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path / "one", "train.accumulate=3", "train.batch_size=18")
    batches = trainer._ahead.take()
    assert [batch.images.shape[0] for batch in batches] == [6, 6, 6]
    # By hand: each batch by itself, their views one after the other from the step's generator.
    other = trainer_of(tmp_path / "two", "train.batch_size=6")
    generator = generator_of(0, 0)
    total = torch.zeros((), dtype=torch.float64)
    for batch in batches:
        loss, _ = other.objectives(
            other.model,
            batch.images.double() / 255,
            tokens=batch.tokens,
            generator=generator,
            step=0,
            total=6,
        )
        total = total + loss / 3
    torch.autograd.backward(total)
    wanted = {
        name: parameter.grad
        for module in (other.model, other.objectives)
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    trainer._ahead.take = lambda: batches  # type: ignore[method-assign]
    assert_close(gradients(trainer), wanted, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        ("train.checkpoint_activations=true", "model.text.layers=1", "model.text.heads=2"),
        ("train.cache_chunk=3", "train.checkpoint_activations=true"),
        ("train.cache_chunk=100",),
    ],
    ids=str,
)
def test_what_saves_memory_changes_no_gradient(options: Sequence[str], tmp_path: Path) -> None:
    plain = [option for option in options if not option.startswith("train.")]
    wanted = gradients(trainer_of(tmp_path / "plain", *plain))
    assert_close(gradients(trainer_of(tmp_path / "other", *options)), wanted, atol=1e-10)


def test_dropout_is_the_same_in_both_passes_of_a_cached_step(tmp_path: Path) -> None:
    # One chunk draws the numbers of the plain step, and both passes have to draw them.
    config = ("model.text.dropout=0.4",)
    found = []
    for chunk in (0, 8):
        trainer = trainer_of(tmp_path / str(chunk), f"train.cache_chunk={chunk}", *config)
        torch.manual_seed(5)
        found.append(gradients(trainer))
    assert_close(*found, atol=1e-10)


def test_bf16_is_close_to_single_precision(tmp_path: Path) -> None:
    found = {}
    for precision in ("fp32", "bf16"):
        trainer = trainer_of(tmp_path / precision, f"train.precision={precision}")
        found[precision] = torch.cat([g.flatten() for g in gradients(trainer).values()])
        assert trainer.model.projection.weight.dtype == torch.float32
    assert found["bf16"].dtype == torch.float32
    cosine = torch.cosine_similarity(found["bf16"], found["fp32"], dim=0)
    assert 0.98 < cosine < 1 - 1e-9


def test_compiled_encoders_give_the_same_gradient(tmp_path: Path) -> None:
    pytest.importorskip("torch._inductor")
    wanted = gradients(trainer_of(tmp_path / "plain"))
    with pytest.MonkeyPatch.context() as patch:
        compiled = torch.compile
        # What Inductor makes of the graphs is torch's business, and takes a minute.
        patch.setattr(torch, "compile", lambda m, **o: compiled(m, backend="aot_eager", **o))
        trainer = trainer_of(tmp_path / "compiled", "train.compile=true")
        assert_close(gradients(trainer), wanted, atol=1e-10)
    names = trainer.model.state_dict().keys()
    assert not any("_orig_mod" in name for name in names)
