"""GroupViT and CLIPSeg of Hugging Face's transformers (the extra `hf`), as segmenters.

Words are encoded once, not once a call as by the models' own forward passes, and CLIPSeg sees an
image once, not once a word. Legend: b images, k words, g groups, t templates, d dimensions, s the
side of the square that the model sees.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vilseg_data.decode import resize_square
from vilseg_eval.framing import check_images
from vilseg_eval.prompts import PHOTO_TEMPLATE, Prompts
from vilseg_eval.segmenters.base import DenseSegmentation, RegionSegmentation
from vilseg_eval.upsampling import upsampled_argmax

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_WORDS_AT_ONCE = 64


class HuggingFaceSegmenter:
    """What both have in common: images to the model's square, sentences to the model's text tower.

    Args:
        model: of transformers; used in evaluation mode, on the device where it is.
        tokenizer: called as transformers' are: a list of texts, `padding`, `truncation`,
            `return_tensors="pt"`; gives `input_ids` and `attention_mask`.
        words: what may be named.
        templates: sentences around each word; their embeddings are averaged.
        mean, std: of the channels of images in [0, 1], as the model was trained.
        batch_size: images a forward pass.
    """

    name: ClassVar[str]
    architecture: ClassVar[str]

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        words: Sequence[str],
        *,
        templates: Sequence[str] = (PHOTO_TEMPLATE,),
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        batch_size: int = 8,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, came {batch_size}; raise it")
        prompts = Prompts(words, templates=templates)
        self.words, self.templates = prompts.words, prompts.templates
        self.model = model.eval()
        self.image_size = int(model.config.vision_config.image_size)
        self.batch_size = batch_size
        self._mean, self._std = (torch.tensor(list(x)).view(3, 1, 1) for x in (mean, std))
        with torch.no_grad():
            self.word_embeddings = self._embed(tokenizer)

    @classmethod
    def from_folder(
        cls,
        folder: Path | str,
        words: Sequence[str],
        *,
        templates: Sequence[str] = (PHOTO_TEMPLATE,),
        device: torch.device | str = "cpu",
        **options: Any,
    ) -> Self:
        """The segmenter of a folder that holds what `save_pretrained` of model and processor wrote.

        Nothing is downloaded.

        Raises:
            ValueError: the folder holds another model, or lacks the tokenizer or the processor.
            ImportError: transformers is not installed.
        """
        transformers = _transformers()
        folder = Path(folder)
        config = _read_json(folder / "config.json", folder=folder)
        if cls.architecture not in config.get("architectures", [cls.architecture]):
            raise ValueError(
                f"{folder}: expected a {cls.architecture}, came {config['architectures']}; name "
                "another segmenter or folder"
            )
        images = _read_json(folder / "preprocessor_config.json", folder=folder)
        try:
            model = getattr(transformers, cls.architecture).from_pretrained(
                folder, local_files_only=True
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder}: cannot be opened: {error}") from error
        return cls(
            model.to(device),
            tokenizer,
            words,
            templates=templates,
            mean=images.get("image_mean", IMAGENET_MEAN),
            std=images.get("image_std", IMAGENET_STD),
            **options,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What else decides the numbers."""
        return {"image_size": self.image_size, "resize": "square"}

    def _batches(self, images: Sequence[Tensor]) -> Iterator[tuple[Tensor, Sequence[Tensor]]]:
        """(b, 3, s, s) normalised, and the images that these are."""
        check_images(images)
        device = self.word_embeddings.device
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            squares = torch.stack([resize_square(x.cpu(), size=self.image_size) for x in batch])
            yield ((squares.float() / 255 - self._mean) / self._std).to(device), batch

    def _embed(self, tokenizer: Any) -> Tensor:
        """(k, d): the mean over templates."""
        sentences = [t.replace("{}", word) for word in self.words for t in self.templates]
        device = next(self.model.parameters()).device
        parts = []
        for start in range(0, len(sentences), _WORDS_AT_ONCE):
            tokens = tokenizer(
                sentences[start : start + _WORDS_AT_ONCE],
                padding=True,
                truncation=True,
                return_tensors="pt",
            )
            parts.append(
                self._encode_text(
                    input_ids=tokens["input_ids"].to(device),
                    attention_mask=tokens["attention_mask"].to(device),
                )
            )
        rows = torch.cat(parts).float()
        return rows.view(len(self.words), len(self.templates), -1).mean(1)

    def _encode_text(self, **tokens: Tensor) -> Tensor:
        """(n, d) of n sentences."""
        raise NotImplementedError


class GroupViTSegmenter(HuggingFaceSegmenter):
    """GroupViT: groups of tokens, each of which resembles words.

    Args:
        assignment: `"soft"`, what the model itself gives as segmentation logits: a token is the
            mixture of its groups; `"hard"`, as in the paper: each pixel belongs to one group, and
            that has one word. The paper's threshold and its filter of words are not applied.

    The others as in `HuggingFaceSegmenter`.
    """

    name = "groupvit"
    architecture = "GroupViTModel"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        words: Sequence[str],
        *,
        assignment: Literal["soft", "hard"] = "soft",
        **options: Any,
    ) -> None:
        if assignment not in ("soft", "hard"):
            raise ValueError(f"assignment: expected soft or hard, came {assignment!r}")
        self.assignment = assignment
        super().__init__(model, tokenizer, words, **options)
        self.word_embeddings = normalize(self.word_embeddings, dim=-1)

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "assignment": self.assignment}

    def segment(
        self, images: Sequence[Tensor], _keys: Sequence[str] = (), /
    ) -> list[DenseSegmentation | RegionSegmentation]:
        """One answer for each uint8 (3, h, w) image."""
        scale = float(self.model.logit_scale.detach().exp())
        answers: list[DenseSegmentation | RegionSegmentation] = []
        with torch.no_grad():
            for pixels, batch in self._batches(images):
                grouping, cosines = self._groups(pixels)
                for shares, scores, image in zip(grouping, cosines, batch, strict=True):
                    size = (image.shape[1], image.shape[2])
                    if self.assignment == "hard":
                        regions = upsampled_argmax(shares, size=size)
                        answers.append(RegionSegmentation(regions, scores, scale))
                    else:
                        mixed = torch.einsum("gk,ghw->khw", scores, shares)
                        answers.append(DenseSegmentation(mixed, size, scale))
        return answers

    def _groups(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of groups in tokens (b, g, gh, gw), and cosines of groups with words (b, g, k)."""
        found = self.model.vision_model(pixels, output_attentions=True)
        # Each stage says which of its inputs (tokens, then groups) belongs to which of its groups.
        shares = found.attentions[0].mT
        for stage in found.attentions[1:]:
            shares = shares @ stage.mT
        side = self.image_size // self.model.config.vision_config.patch_size
        groups = self.model.visual_projection(found.last_hidden_state.flatten(0, 1))
        cosines = normalize(groups.float(), dim=-1) @ self.word_embeddings.T
        return (
            shares.mT.float().unflatten(2, (side, side)),
            cosines.view(len(pixels), -1, len(self.words)),
        )

    def _encode_text(self, **tokens: Tensor) -> Tensor:
        pooled = self.model.text_model(**tokens).pooler_output
        unit: Tensor = normalize(self.model.text_projection(pooled), dim=-1)
        return unit


class CLIPSegSegmenter(HuggingFaceSegmenter):
    """CLIPSeg: a decoder on CLIP that draws one map for each word. It was trained with masks.

    The maps of all words of an image are kept, s x s floats each. Arguments as in
    `HuggingFaceSegmenter`.
    """

    name = "clipseg"
    architecture = "CLIPSegForImageSegmentation"

    def segment(
        self, images: Sequence[Tensor], _keys: Sequence[str] = (), /
    ) -> list[DenseSegmentation]:
        """One answer for each uint8 (3, h, w) image."""
        answers = []
        with torch.no_grad():
            for pixels, batch in self._batches(images):
                found = self.model.clip.vision_model(pixels, output_hidden_states=True)
                # The first hidden state is the embedding, before any layer.
                layers = [found.hidden_states[i + 1] for i in self.model.extract_layers]
                for row, image in enumerate(batch):
                    maps = self._maps([layer[row : row + 1] for layer in layers])
                    size = (image.shape[1], image.shape[2])
                    answers.append(DenseSegmentation(maps, size, 1.0))
        return answers

    def _maps(self, layers: Sequence[Tensor]) -> Tensor:
        """(k, s, s) logits of one image, from its hidden states (1, tokens, width)."""
        parts = []
        for words in torch.split(self.word_embeddings, _WORDS_AT_ONCE):
            states = [layer.expand(len(words), -1, -1) for layer in layers]
            logits = self.model.decoder(states, words).logits
            parts.append(logits.float().view(len(words), self.image_size, self.image_size))
        return torch.cat(parts)

    def _encode_text(self, **tokens: Tensor) -> Tensor:
        pooled = self.model.clip.text_model(**tokens).pooler_output
        embedding: Tensor = self.model.clip.text_projection(pooled)
        return embedding


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "this segmenter needs transformers; install it with: pip install 'vilseg-eval[hf]'"
        ) from error
    return transformers


def _read_json(path: Path, *, folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder}: expected a folder with a readable {path.name}; save model and processor "
            "there with save_pretrained"
        ) from error
    return found
