"""What benchmarks.evaluation measures: the stages of an image, segmenters, scores, words."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.data_images import Images
from benchmarks.data_problems import Contender, load
from benchmarks.evaluation_models import (
    BASE,
    CLUSTERS,
    SIZES,
    SMALL,
    TINY,
    Size,
    model,
    tokenizer,
    words,
)
from benchmarks.evaluation_schema import Subject
from benchmarks.schema import Device
from vilseg_data import decode_image
from vilseg_eval import (
    ConfusionMatrix,
    ImageSession,
    KMeansSegmenter,
    PatchSegmenter,
    ViLSegSegmenter,
)
from vilseg_eval.features import inference
from vilseg_eval.prompts import Prompts, Vocabulary
from vilseg_eval.segmenters.regions import region_masks
from vilseg_eval.upsampling import upsampled_argmax

CLASSES = 171
"""Of COCO-Stuff."""

# The text encoder takes as long for twice as many words; a thousand would be most of a run.
_MOST_EMBEDDED = 100


@dataclass(frozen=True)
class Problem:
    """One subject at one size; `memory` says whether the peak is measured, too."""

    subject: Subject
    images: int
    sizes: dict[str, int]
    contenders: tuple[Contender, ...]
    memory: bool = False


@dataclass(frozen=True)
class Inputs:
    """JPEG files, their pixels uint8 (3, h, w), and where to compute."""

    files: Images
    pixels: tuple[Tensor, ...]
    device: Device
    seed: int
    quick: bool
    models: tuple[str, ...]

    @classmethod
    def of(
        cls, files: Images, *, device: Device, seed: int, quick: bool, models: Sequence[str]
    ) -> "Inputs":
        pixels = tuple(map(decode_image, files.files))
        return cls(files, pixels, device, seed, quick, tuple(models))

    def sizes(self, *sizes: Size) -> tuple[Size, ...]:
        """Those of `sizes` that were asked for; the first that was where none of them is."""
        if self.quick:
            return (TINY,)
        asked = tuple(size for size in sizes if size.name in self.models)
        return asked or (SIZES[self.models[0]],)

    def labels(self, count: int, *, size: tuple[int, int]) -> Tensor:
        """(h, w) int64: random labels in areas, as label maps have them."""
        generator = torch.Generator().manual_seed(self.seed)
        areas = torch.randint(0, count, (8, 8), generator=generator)
        rows, columns = (torch.arange(side) * 8 // side for side in size)
        return areas[rows[:, None], columns]


def stages(given: Inputs) -> Iterator[Problem]:
    """Where the time of one image goes, with the paper's model if it was asked for."""
    (size,) = given.sizes(BASE)
    network = model(size, seed=given.seed, device=given.device)
    segmenter = ViLSegSegmenter(network, tokenizer(), words(20))
    image = given.pixels[0]
    shape = (image.shape[1], image.shape[2])
    frame = segmenter.framing.frame(image)[None].to(given.device).float() / 255
    with inference(network):
        pixels = network.encode_image(frame).pixels
        logits = network.cluster(pixels)[0]
    (regions,) = segmenter.open([image])
    present = regions.clusters
    clusters = present[regions.map]
    matrix = ConfusionMatrix(CLASSES)
    labels = regions.named(segmenter.bank).labels(range(20))

    def pool() -> Tensor:
        masks = region_masks(logits, clusters, present=present)
        return network.pool_regions(pixels, masks[None])

    steps: dict[str, Callable[[], object]] = {
        "decode": partial(decode_image, given.files.files[0]),
        "resize": partial(segmenter.framing.frame, image),
        "encode": partial(network.encode_image, frame),
        "cluster": partial(network.cluster, pixels),
        "upsample": partial(upsampled_argmax, logits, size=shape),
        "pool": pool,
        "name": lambda: regions.named(segmenter.bank).labels(range(20)),
        "update": partial(matrix.update, labels, given.labels(CLASSES, size=shape)),
    }
    side = {"image": size.image_size, "height": shape[0], "width": shape[1], "words": 20}
    for name, call in steps.items():
        named = f"{size.name}: {name}"
        yield Problem("stage", 1, side, (_vilseg(named, _no_gradients(call)),))


def segmenters(given: Inputs) -> Iterator[Problem]:
    """End to end from pixels to a label map, beside the encoder alone."""
    for size in given.sizes(BASE, SMALL):
        network = model(size, seed=given.seed, device=given.device)
        known = Vocabulary(network, tokenizer())
        image = given.pixels[0]
        made = [
            kind(network, tokenizer(), words(20), vocabulary=known)
            for kind in (ViLSegSegmenter, PatchSegmenter, KMeansSegmenter)
        ]
        again = KMeansSegmenter(network, tokenizer(), words(20), vocabulary=known, restarts=10)
        contenders = [
            _vilseg(f"{size.name}: encoder alone", partial(made[0].encode, [image])),
            *(_vilseg(f"{size.name}: {s.name}", _segment(s, image)) for s in made),
            _vilseg(f"{size.name}: kmeans, 10 restarts", _segment(again, image)),
        ]
        sides = {"image": size.image_size, "words": 20, "clusters": CLUSTERS}
        yield Problem("segmenter", 1, sides, tuple(contenders), memory=True)


def groupvit(given: Inputs) -> Iterator[Problem]:
    """Beside GroupViT of transformers at its size, with random weights: architecture speed only."""
    for count in (3,) if given.quick else (20, 171):
        contenders = []
        for size in given.sizes(BASE, SMALL):
            network = model(size, seed=given.seed, device=given.device)
            made = ViLSegSegmenter(network, tokenizer(), words(count))
            anew = partial(_embed_and_segment, made, given.pixels[0], count)
            contenders += [
                _vilseg(f"vilseg {size.name}, words known", _segment(made, given.pixels[0])),
                _vilseg(f"vilseg {size.name}, words encoded", anew),
            ]
        contenders += [
            Contender(
                "GroupViT, words known", "peer", partial(_groupvit_call, given, count, known=True)
            ),
            Contender(
                "GroupViT, as transformers calls it",
                "peer",
                partial(_groupvit_call, given, count, known=False),
            ),
        ]
        side = 32 if given.quick else 224
        yield Problem("groupvit", 1, {"image": side, "words": count}, tuple(contenders))


def updates(given: Inputs) -> Iterator[Problem]:
    """Counting the pixels of one pair of label maps of 500 x 500."""
    size = (40, 40) if given.quick else (500, 500)
    truth = given.labels(CLASSES, size=size)
    guess = truth.roll((size[0] // 20, size[1] // 20), (0, 1))
    truth = torch.where(truth == CLASSES - 1, 255, truth)
    matrix = ConfusionMatrix(CLASSES)
    contenders = (
        _vilseg("ConfusionMatrix.update", partial(matrix.update, guess, truth)),
        Contender("three histograms", "peer", lambda _: partial(_histograms, guess, truth)),
        Contender("torchmetrics", "peer", lambda _: _torchmetrics(guess, truth)),
    )
    sides = {"height": size[0], "width": size[1], "classes": CLASSES}
    yield Problem("update", 1, sides, contenders, memory=True)


def word_lists(given: Inputs) -> Iterator[Problem]:
    """The same image with 5 to 1,000 words: named again from its features, and end to end."""
    (size,) = given.sizes(BASE)
    network = model(size, seed=given.seed, device=given.device)
    known = Vocabulary(network, tokenizer())
    image = given.pixels[0]
    for count in (5, 8) if given.quick else (5, 20, 100, 1000):
        made = [
            kind(network, tokenizer(), words(count), vocabulary=known)
            for kind in (ViLSegSegmenter, PatchSegmenter)
        ]
        sessions = {segmenter.name: ImageSession(segmenter, image) for segmenter in made}
        contenders = [
            *(_vilseg(f"{size.name}: {s.name}, end to end", _segment(s, image)) for s in made),
            *(
                _vilseg(f"{name}, cached image, known words", partial(_named, session, count))
                for name, session in sessions.items()
            ),
        ]
        if count <= _MOST_EMBEDDED:
            contenders.append(_vilseg("embedding new words", partial(_embed, made[0], count)))
        yield Problem("words", 1, {"words": count}, tuple(contenders), memory=True)


SUBJECTS: dict[Subject, Callable[[Inputs], Iterator[Problem]]] = {
    "stage": stages,
    "segmenter": segmenters,
    "update": updates,
    "words": word_lists,
    "groupvit": groupvit,
}


def _vilseg(name: str, call: Callable[[], object]) -> Contender:
    return Contender(name, "vilseg", lambda _: call)


def _no_gradients(call: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        with torch.no_grad():
            return call()

    return run


def _segment(segmenter: Any, image: Tensor) -> Callable[[], object]:
    def run() -> object:
        (answer,) = segmenter.segment([image])
        return answer.labels(range(len(segmenter.words)))

    return run


def _named(session: ImageSession, count: int) -> object:
    return session.segment(words(count)).labels(range(count))


def _embed(segmenter: Any, count: int) -> object:
    return Vocabulary(segmenter.model, tokenizer()).bank(Prompts(words(count)))


def _embed_and_segment(segmenter: Any, image: Tensor, count: int) -> object:
    bank = Vocabulary(segmenter.model, tokenizer()).bank(Prompts(words(count)))
    (opened,) = segmenter.open([image])
    return opened.named(bank).labels(range(count))


def _groupvit_call(given: Inputs, count: int, _: ExitStack, *, known: bool) -> Callable[[], object]:
    return _groupvit(given, count, known=known)


def _groupvit(given: Inputs, count: int, *, known: bool) -> Callable[[], object]:
    transformers = load("transformers", package="transformers")
    from vilseg_eval.segmenters.huggingface import GroupViTSegmenter

    small: dict[str, Any] = (
        {"vision_config": {"image_size": 32, "patch_size": 4}} if given.quick else {}
    )
    torch.manual_seed(given.seed)
    network = transformers.GroupViTModel(transformers.GroupViTConfig(**small)).eval()
    network.to(given.device)

    def tokens(texts: list[str], **_: Any) -> dict[str, Tensor]:
        # Each text ends with the largest id, by which the model finds the end.
        rows = torch.arange(1, 9).repeat(len(texts), 1)
        rows[:, 1] = torch.arange(len(texts)) % 40_000
        rows[:, -1] = 49_407
        return {"input_ids": rows, "attention_mask": torch.ones_like(rows)}

    if known:
        return _segment(GroupViTSegmenter(network, tokens, words(count)), given.pixels[0])
    segmenter = GroupViTSegmenter(network, tokens, words(2))
    size = tuple(given.pixels[0].shape[1:])
    texts = {name: x.to(given.device) for name, x in tokens(words(count)).items()}

    def call() -> object:
        square = next(iter(segmenter._batches([given.pixels[0]])))[0]
        with torch.no_grad():
            found = network(**texts, pixel_values=square, output_segmentation=True)
        return upsampled_argmax(found.segmentation_logits[0], size=(size[0], size[1]))

    return call


def _histograms(guess: Tensor, truth: Tensor) -> object:
    """The areas of intersection, prediction and ground truth by a histogram each."""
    kept = truth != 255
    prediction, target = guess[kept].float(), truth[kept].float()
    areas = [
        torch.histc(values, bins=CLASSES, min=0, max=CLASSES - 1)
        for values in (prediction[prediction == target], prediction, target)
    ]
    return torch.stack(areas)


def _torchmetrics(guess: Tensor, truth: Tensor) -> Callable[[], object]:
    module = load("torchmetrics.classification", package="torchmetrics")
    metric = module.MulticlassConfusionMatrix(CLASSES, ignore_index=255, validate_args=False)
    return partial(metric.update, guess[None], truth[None])
