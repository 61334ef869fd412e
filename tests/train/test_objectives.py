from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.train.conftest import tiny_config
from torch import Tensor, nn

from vilseg_core.models import ViLSeg, build_model
from vilseg_train.objectives import Objectives

N = 5


def _build(*overrides: str) -> tuple[ViLSeg, Objectives]:
    config = tiny_config("model.text.vocab_size=300", "model.text.end_of_text=2", *overrides)
    torch.manual_seed(0)
    objectives = Objectives(
        config.loss,
        views=config.views,
        prototypes=config.model.prototypes,
        image_size=config.model.image.image_size,
    )
    return build_model(config.model), objectives


def _run(
    model: ViLSeg, objectives: Objectives, *, step: int = 5, seed: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    images = torch.rand(N, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    tokens = torch.randint(3, 300, (N, 48), generator=torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(seed)
    loss, parts = objectives(model, images, tokens=tokens, generator=generator, step=step, total=6)
    assert isinstance(loss, Tensor)
    return loss, parts


def _count_calls(
    monkeypatch: pytest.MonkeyPatch, model: ViLSeg, *names: str
) -> dict[str, list[tuple[int, ...]]]:
    """The shapes of the first argument of each call of a method or submodule of `model`."""
    calls: dict[str, list[tuple[int, ...]]] = {name: [] for name in names}

    def count(name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def counted(value: Tensor) -> Any:
            calls[name].append(tuple(value.shape))
            return inner(value)

        return counted

    for name in names:
        owner: Any = model
        *path, last = name.split(".")
        for part in path:
            owner = getattr(owner, part)
        target = getattr(owner, last)
        if isinstance(target, nn.Module):
            monkeypatch.setattr(target, "forward", count(name, target.forward))
        else:
            monkeypatch.setattr(owner, last, count(name, target))
    return calls


COUNTED = ("image_encoder", "text_encoder", "projection", "clustering_head.forward_all")


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    model, objectives = _build("loss.cross=0.5", "loss.vision=2.0", "loss.cluster=3.0")
    loss, parts = _run(model, objectives)
    signs = {
        "nearer", "target_entropy", "mean_target_entropy", "cluster_entropy", "pixel_entropy",
        "clusters_used",
    }  # fmt: skip
    assert parts.keys() == {"cross", "temperature", "vision", "cluster"} | signs
    expected = 0.5 * parts["cross"] + 2 * parts["vision"] + 3 * parts["cluster"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert parts["temperature"].item() == pytest.approx(0.07)
    assert not any(value.requires_grad for value in parts.values())


def test_local_views_pass_in_one_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    model, objectives = _build()
    calls = _count_calls(monkeypatch, model, *COUNTED)
    _run(model, objectives)
    whole = (N, 3, 32, 32)
    assert calls["image_encoder"] == [whole, (2 * N, 3, 16, 16), whole]
    assert calls["text_encoder"] == [(N, 48)]
    assert calls["projection"] == [(2 * N, 24), (N, 24)]
    assert calls["clustering_head.forward_all"] == [(N, 24, 4, 4)] * 2


@pytest.mark.parametrize(
    ("off", "silent", "images"),
    [
        ("cross", {"text_encoder"}, 3),
        ("vision", {"projection"}, 2),
        ("cluster", {"clustering_head.forward_all"}, 2),
    ],
)
def test_a_weight_of_zero_costs_nothing(
    off: str, silent: set[str], images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, objectives = _build(f"loss.{off}=0")
    calls = _count_calls(monkeypatch, model, *COUNTED)
    _, parts = _run(model, objectives)
    assert off not in parts
    assert {name for name, shapes in calls.items() if not shapes} == silent
    assert len(calls["image_encoder"]) == images


def test_clustering_begins_at_its_share_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    model, objectives = _build("loss.cluster_start=0.4")
    assert objectives.cluster_begins(6) == 3
    calls = _count_calls(monkeypatch, model, *COUNTED)
    assert "cluster" not in _run(model, objectives, step=2)[1]
    assert calls["clustering_head.forward_all"] == []
    assert "cluster" in _run(model, objectives, step=3)[1]
    assert "cluster" in _run(*_build("loss.cluster_start=0"), step=0)[1]


def _touched(model: ViLSeg) -> set[str]:
    return {
        name.partition(".")[0]
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and bool((parameter.grad != 0).any())
    }


@pytest.mark.parametrize(
    ("gradient", "expected"),
    [("head", {"clustering_head"}), ("encoder", {"clustering_head", "image_encoder"})],
)
def test_where_the_clustering_gradient_goes(gradient: str, expected: set[str]) -> None:
    model, objectives = _build(
        "loss.cross=0",
        "loss.vision=0",
        "loss.cluster_start=0",
        f"loss.cluster_gradient={gradient}",
    )
    torch.autograd.backward(_run(model, objectives)[0])
    assert _touched(model) == expected


def test_the_detached_head_changes_no_gradient_of_the_encoder() -> None:
    gradients = []
    for cluster in (0, 1):
        model, objectives = _build(f"loss.cluster={cluster}")
        torch.autograd.backward(_run(model, objectives)[0])
        weight = model.image_encoder.projection.weight
        assert weight.grad is not None
        gradients.append(weight.grad)
    assert torch.equal(*gradients)


def test_the_same_generator_gives_the_same_loss() -> None:
    model, objectives = _build()
    first, again, other = (_run(model, objectives, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_equal_views_of_a_confident_head_agree_fully() -> None:
    # Without colour changes the changed copy, mapped back, is the image itself, so each pixel is
    # in one cluster twice: the information is the entropy of the clusters.
    model, objectives = _build(
        "views.gain=0",
        "views.bias=0",
        "views.augmentation_flip=0",
        "loss.cross=0",
        "loss.vision=0",
        "loss.cluster_start=0",
        "loss.entropy_weight=1",
        "model.cluster.heads=1",
    )
    with torch.no_grad():
        for parameter in model.clustering_head.parameters():
            parameter.mul_(1e4)
    _, parts = _run(model, objectives)
    images = objectives.multicrop(
        torch.rand(N, 3, 32, 32, generator=torch.Generator().manual_seed(1)),
        generator=torch.Generator().manual_seed(0),
    ).global_view
    with torch.no_grad():
        hard = model.clustering_head.forward_all(model.encode_image(images).pixels)[0].argmax(1)
    share = torch.bincount(hard.flatten(), minlength=4) / hard.numel()
    entropy = -(share * share.clamp_min(1e-30).log()).sum()
    assert parts["cluster"].item() == pytest.approx(-entropy.item(), abs=1e-2)
    assert entropy > 0.1


def test_the_centre_moves_with_each_step() -> None:
    model, objectives = _build("loss.vision_targets=center")
    before = {name: value.clone() for name, value in objectives.named_buffers()}
    assert "vision.targets.center" in before
    _run(model, objectives)
    after = dict(objectives.named_buffers())
    assert not torch.equal(after["vision.targets.center"], before["vision.targets.center"])
