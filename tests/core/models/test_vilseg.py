"""The assembled model: what each verb returns, and how regions are pooled."""

from typing import Any

import pytest
import torch

pytest.importorskip("timm")
pytest.importorskip("pydantic")

from tests.core.models.small import TINY, WORLD, model_of, photos

from vilseg_core import LocalToGlobalLoss, MutualInformationLoss, SymmetricInfoNCE
from vilseg_core.models import ModelConfig, build_model


def regions_model(kind: str) -> Any:
    image = {**TINY["image"], "pooling": kind}
    torch.manual_seed(0)
    return build_model(
        ModelConfig.model_validate({**TINY, "image": image, "region_pooling": kind})
    ).eval()


@pytest.mark.parametrize("base", [TINY, WORLD], ids=["tiny", "world"])
def test_shapes(base: dict[str, Any]) -> None:
    model = model_of(base)
    size, d = base["image"]["image_size"], base["embed_dim"]
    tokens = torch.randint(4, 50, (3, 6))
    features, embedded = model(photos(2, size, size), tokens)
    h = size // 8
    assert features.pixels.shape == (2, d, h, h)
    assert embedded.shape == (3, d)
    clusters = base["cluster"]["clusters"]
    assert model.cluster(features.pixels).shape == (2, clusters, h, h)
    assert model.projection(features.pooled).shape == (2, base.get("prototypes", 2048))
    assert model.pool_regions(features.pixels, torch.ones(2, 4, h, h)).shape == (2, 4, d)


@pytest.mark.parametrize("kind", ["mean", "max", "lse", "attention"])
def test_a_region_of_everything_is_the_global_feature(kind: str) -> None:
    model = regions_model(kind)
    features = model.encode_image(photos())
    whole = model.pool_regions(features.pixels, torch.ones(2, 1, 4, 4)).squeeze(1)
    torch.testing.assert_close(whole, features.pooled)


def test_region_attention_is_the_module_of_the_global_feature() -> None:
    model = regions_model("attention")
    assert model.region_pooling is model.image_encoder.pooling
    names = [name for name in model.state_dict() if "query" in name]
    assert names == ["image_encoder.pooling.query"]


def test_the_same_seed_gives_the_same_model() -> None:
    first, second = model_of(TINY).state_dict(), model_of(TINY).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_weights_survive_saving_and_loading() -> None:
    model = model_of(WORLD)
    other = build_model(model.config).eval()
    other.load_state_dict(model.state_dict())
    images = photos(1, 64, 64)
    assert torch.equal(other.encode_image(images).pooled, model.encode_image(images).pooled)


def test_a_few_steps_on_all_losses_lower_them() -> None:
    torch.manual_seed(0)
    model = model_of(TINY, pooling="lse", stem="conv").train()
    contrast, information = SymmetricInfoNCE(), MutualInformationLoss()
    views = LocalToGlobalLoss(7)
    images, tokens = photos(6), torch.randint(4, 50, (6, 8))
    parameters = [*model.parameters(), *contrast.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=3e-3)
    totals = []
    for _ in range(12):
        features, embedded = model(images, tokens)
        crops = model.encode_image(images[:, :, 8:24, 8:24])
        flipped = model.encode_image(images.flip(3)).pixels.flip(3)
        total = (
            contrast(features.pooled, embedded)
            + views(model.projection(crops.pooled)[None], model.projection(features.pooled))
            + information(model.cluster(features.pixels), model.cluster(flipped))
        )
        optimiser.zero_grad()
        torch.autograd.backward(total)
        optimiser.step()
        totals.append(total.item())
    assert totals[-1] < totals[0] - 0.3


@pytest.mark.slow
def test_the_encoders_compile_without_a_break() -> None:
    torch.compiler.reset()
    model = model_of(TINY)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    images, tokens = photos(), torch.randint(4, 50, (2, 6))
    truth, found = model(images, tokens), compiled(images, tokens)
    torch.testing.assert_close(found[0].pixels, truth[0].pixels)
    torch.testing.assert_close(found[1], truth[1])
