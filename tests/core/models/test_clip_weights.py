"""CLIP's weights in this package's encoders give CLIP's features."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("timm")
pytest.importorskip("pydantic")

from tests.core.models.clip import Clip

from vilseg_core.models import ImageEncoderConfig, TextEncoderConfig
from vilseg_core.models.image import ImageEncoder
from vilseg_core.models.text import TextEncoder

SIZES: dict[str, Any] = {
    "size": 16, "patch": 8, "width": 24, "text_width": 16, "layers": 2, "heads": 2, "vocab": 30,
    "context": 9, "out": 12,
}  # fmt: skip
NAMES = {True: "vit_base_patch16_clip_quickgelu_224", False: "vit_base_patch16_clip_224"}


def clip(*, quick: bool) -> Clip:
    torch.manual_seed(0)
    return Clip(**SIZES, quick=quick).eval()


def layouts(model: Clip) -> dict[str, dict[str, Any]]:
    """The same weights as OpenAI, open_clip with a text tower, and a trainer save them."""
    plain = model.state_dict()
    towers = {
        name if name.startswith(("visual.", "logit_scale")) else f"text.{name}": value
        for name, value in plain.items()
    }
    towers["text.text_projection.weight"] = towers.pop("text.text_projection").T.contiguous()
    return {
        "openai": plain,
        "open_clip": towers,
        "training": {"epoch": 1, "state_dict": {f"module.{n}": v for n, v in plain.items()}},
        "half": {name: value.half() for name, value in plain.items()},
    }


def image_encoder(path: Path, *, quick: bool) -> ImageEncoder:
    config = ImageEncoderConfig(
        name=NAMES[quick],
        image_size=16,
        options={"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2},
        checkpoint=path,
    )
    return ImageEncoder(config, embed_dim=12).eval()


def text_encoder(path: Path, *, quick: bool = True, **options: Any) -> TextEncoder:
    config = {
        "vocab_size": 30, "context_length": 9, "width": 16, "layers": 2, "heads": 2,
        "end_of_text": 29, "activation": "quick_gelu" if quick else "gelu", "checkpoint": path,
    } | options  # fmt: skip
    embed_dim = config.pop("embed_dim", 12)
    return TextEncoder(TextEncoderConfig(**config), embed_dim=embed_dim).eval()


def texts() -> Tensor:
    return torch.tensor([[27, 3, 4, 29, 0, 0, 0, 0, 0], [27, 5, 6, 7, 8, 9, 10, 11, 29]])


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("layout", ["openai", "open_clip", "training", "half"])
def test_features_are_clips(tmp_path: Path, layout: str, quick: bool) -> None:
    model, path = clip(quick=quick), tmp_path / "clip.pt"
    torch.save(layouts(model)[layout], path)
    if layout == "half":
        model.load_state_dict({n: v.half().float() for n, v in model.state_dict().items()})
    encoder = image_encoder(path, quick=quick)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pooled, patches = model.encode_image(torch.addcmul(encoder.shift, images, encoder.gain))
        features = encoder(images)
        torch.testing.assert_close(features.pooled, pooled, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(features.pixels.flatten(2).mT, patches, atol=1e-5, rtol=1e-5)
        found = text_encoder(path, quick=quick)(texts())
        torch.testing.assert_close(found, model.encode_text(texts()), atol=1e-5, rtol=1e-5)


def test_open_clips_own_model(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    vision = {"image_size": 16, "patch_size": 8, "width": 24, "layers": 2, "head_width": 12}
    text = {"context_length": 9, "vocab_size": 30, "width": 16, "heads": 2, "layers": 2}
    model = open_clip.CLIP(12, vision, text).eval()
    path = tmp_path / "open_clip.pt"
    torch.save(model.state_dict(), path)
    encoder = image_encoder(path, quick=False)
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        expected = model.encode_image(torch.addcmul(encoder.shift, images, encoder.gain))
        torch.testing.assert_close(encoder(images).pooled, expected, atol=1e-5, rtol=1e-5)
        found = text_encoder(path, quick=False)(texts())
        torch.testing.assert_close(found, model.encode_text(texts()), atol=1e-5, rtol=1e-5)


def test_a_shorter_context_takes_the_first_positions(tmp_path: Path) -> None:
    model, path = clip(quick=True), tmp_path / "clip.pt"
    torch.save(model.state_dict(), path)
    short = texts()[:1, :5]
    with torch.no_grad():
        found = text_encoder(path, context_length=5)(short)
        torch.testing.assert_close(found, model.encode_text(short), atol=1e-5, rtol=1e-5)


def test_another_width_keeps_the_own_projection(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    torch.save(clip(quick=True).state_dict(), path)
    torch.manual_seed(3)
    assert text_encoder(path, embed_dim=7)(texts()).shape == (2, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 3}, "lacks 12 of the encoder's weights, the first 'blocks.2"),
        ({"vocab_size": 31, "end_of_text": 29}, "'token_embedding.weight' of shape .30, 16."),
        ({"context_length": 10}, "'positional_embedding' of shape .9, 16."),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "clip.pt"
    torch.save(clip(quick=True).state_dict(), path)
    with pytest.raises(ValueError, match=f"text.checkpoint: .*{message}"):
        text_encoder(path, **options)
    with pytest.raises(ValueError, match="there is no file"):
        text_encoder(tmp_path / "none.pt")
