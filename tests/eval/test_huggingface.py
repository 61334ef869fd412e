"""GroupViT and CLIPSeg with random weights: the adapters say what the models' own passes say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.eval.images import random_images
from torch import Tensor

from vilseg_data import Tokenizer
from vilseg_data.decode import resize_square
from vilseg_eval import RegionSegmentation
from vilseg_eval.segmenters.huggingface import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CLIPSegSegmenter,
    GroupViTSegmenter,
)
from vilseg_eval.upsampling import upsample

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed (pip install 'vilseg-eval[hf]')"
)

WORDS = ("dog", "grass", "red car")
TEMPLATE = "a photo of a {}"
SIZES = ((32, 32), (20, 45), (50, 31))


class Tokens:
    """The interface of transformers' tokenizers over one of ours."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def __call__(self, texts: Sequence[str], **_: Any) -> dict[str, Tensor]:
        rows = self.tokenizer(texts)
        return {"input_ids": rows, "attention_mask": (rows != 0).long()}


@pytest.fixture(scope="module")
def text_config(tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": tokenizer.vocab_size,
        "max_position_embeddings": tokenizer.context_length,
        "bos_token_id": tokenizer.start_of_text,
        "eos_token_id": tokenizer.end_of_text,
        "pad_token_id": 0,
    }


@pytest.fixture(scope="module")
def groupvit(text_config: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "depths": [1, 1, 1],
        "num_hidden_layers": 3,
        "num_group_tokens": [8, 4, 0],
        "num_output_groups": [8, 4, 0],
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    config = transformers.GroupViTConfig(
        text_config=text_config,
        vision_config=vision,
        projection_dim=12,
        projection_intermediate_dim=24,
    )
    return transformers.GroupViTModel(config).eval()


@pytest.fixture(scope="module")
def clipseg(text_config: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    config = transformers.CLIPSegConfig(
        text_config=text_config,
        vision_config=vision,
        projection_dim=12,
        extract_layers=[0, 1, 2],
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    return transformers.CLIPSegForImageSegmentation(config).eval()


def pixels_of(image: Tensor) -> Tensor:
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    return ((resize_square(image, size=32).float() / 255 - mean) / std)[None]


def test_groupvit_says_what_its_own_forward_pass_says(groupvit: Any, tokenizer: Tokenizer) -> None:
    tokens = Tokens(tokenizer)
    segmenter = GroupViTSegmenter(groupvit, tokens, WORDS, batch_size=2)
    images = random_images(*SIZES)
    scale = float(groupvit.logit_scale.detach().exp())
    for image, answer in zip(images, segmenter.segment(images), strict=True):
        with torch.no_grad():
            own = groupvit(
                **tokens([TEMPLATE.format(word) for word in WORDS]),
                pixel_values=pixels_of(image),
                output_segmentation=True,
            ).segmentation_logits[0]
        found = upsample(answer.scores, size=(32, 32)) * scale**2
        torch.testing.assert_close(found, own, atol=2e-3 * float(own.abs().max()), rtol=1e-3)
        labels = answer.labels(range(3))
        assert labels.shape == image.shape[1:]


def test_hard_groups_are_regions_with_one_word_each(groupvit: Any, tokenizer: Tokenizer) -> None:
    segmenter = GroupViTSegmenter(groupvit, Tokens(tokenizer), WORDS, assignment="hard")
    (image,) = random_images((20, 45))
    (answer,) = segmenter.segment([image])
    labels = answer.labels(range(3))
    assert isinstance(answer, RegionSegmentation)
    for group in torch.unique(answer.regions):
        assert len(torch.unique(labels[answer.regions == group])) == 1
    assert segmenter.settings["assignment"] == "hard"
    with pytest.raises(ValueError, match="assignment: expected soft or hard, came 'none'"):
        GroupViTSegmenter(groupvit, Tokens(tokenizer), WORDS, assignment="none")  # type: ignore[arg-type]


def test_clipseg_says_what_its_own_forward_pass_says(clipseg: Any, tokenizer: Tokenizer) -> None:
    tokens = Tokens(tokenizer)
    segmenter = CLIPSegSegmenter(clipseg, tokens, WORDS, batch_size=2)
    images = random_images(*SIZES)
    for image, answer in zip(images, segmenter.segment(images), strict=True):
        with torch.no_grad():
            own = clipseg(
                **tokens([TEMPLATE.format(word) for word in WORDS]),
                pixel_values=pixels_of(image).expand(3, -1, -1, -1),
            ).logits
        torch.testing.assert_close(answer.scores, own, atol=1e-5, rtol=1e-4)
        assert answer.labels(range(3)).shape == image.shape[1:]


def test_templates_are_averaged(groupvit: Any, tokenizer: Tokenizer) -> None:
    tokens, templates = Tokens(tokenizer), ("a {}", "the {} on grass")
    both = GroupViTSegmenter(groupvit, tokens, WORDS, templates=templates).word_embeddings
    each = [GroupViTSegmenter(groupvit, tokens, WORDS, templates=[t]) for t in templates]
    mean = (each[0].word_embeddings + each[1].word_embeddings) / 2
    torch.testing.assert_close(both, mean / mean.norm(dim=1, keepdim=True))


def test_a_folder_that_holds_something_else_is_refused(groupvit: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a folder with a readable config\.json"):
        GroupViTSegmenter.from_folder(tmp_path, WORDS)
    groupvit.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"readable preprocessor_config\.json; save model and"):
        GroupViTSegmenter.from_folder(tmp_path, WORDS)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3}))
    with pytest.raises(ValueError, match="expected a CLIPSegForImageSegmentation, came"):
        CLIPSegSegmenter.from_folder(tmp_path, WORDS)
