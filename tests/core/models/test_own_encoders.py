"""Encoders of one's own: named, tried, and refused with the reason where they do not fit."""

from typing import Any

import pytest
import torch

pytest.importorskip("timm")
pytest.importorskip("pydantic")

from pydantic import ValidationError
from tests.core.models import own_encoders as own

from vilseg_core.models import (
    ImageEncoderConfig,
    ModelConfig,
    TextEncoderConfig,
    ViLSeg,
    build_model,
)

HERE = "tests.core.models.own_encoders"


def built(*, image: str = "Patches", text: str = "Letters", **options: Any) -> ViLSeg:
    return build_model(
        ModelConfig(
            embed_dim=12,
            prototypes=4,
            image=ImageEncoderConfig(
                name=f"{HERE}:{image}", image_size=16, options={"side": 8} | options
            ),
            text=TextEncoderConfig(name=f"{HERE}:{text}", vocab_size=20, end_of_text=19),
        )
    )


def test_they_are_the_models_encoders() -> None:
    model = built()
    assert isinstance(model.image_encoder, own.Patches)
    assert isinstance(model.text_encoder, own.Letters)
    features, words = model(torch.rand(3, 3, 24, 16), torch.randint(0, 20, (5, 7)))
    assert features.pixels.shape == (3, 12, 3, 2)
    assert (features.pooled.shape, words.shape) == ((3, 12), (5, 12))
    assert model.cluster(features.pixels).shape == (3, 25, 3, 2)


def test_trying_them_leaves_no_trace() -> None:
    encoder = built().image_encoder
    assert encoder.training
    assert isinstance(encoder, own.Patches)
    assert encoder.norm.running_mean is not None
    assert torch.equal(encoder.norm.running_mean, torch.zeros(12))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"image": "Nothing"}, "image.name: .* has no 'Nothing'"),
        ({"image": "NoPatchSize"}, "to have a whole number patch_size, came None"),
        ({"image": "OneFeature"}, "expected pixels of .* of shape .1, 12, 2, 2., came NoneType"),
        ({"image": "other_arguments"}, "image.name: .* cannot be made as"),
        ({"text": "no_module"}, "expected a torch.nn.Module from .*, came str"),
        ({"text": "TooNarrow"}, "text.name: expected answer of .* of shape .1, 12., came .1, 11."),
        ({"text": "Failing"}, "text.name: .* fails on an input of shape .1, 77.: on purpose"),
    ],
)
def test_what_does_not_fit_is_refused(names: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(**names)


def test_a_text_encoder_is_clips_or_ones_own() -> None:
    with pytest.raises(ValidationError, match=r"name: expected .clip. or .package"):
        TextEncoderConfig(name="bert")
    with pytest.raises(ValidationError, match=r"options: expected none for CLIP's"):
        TextEncoderConfig(options={"a": 1})
