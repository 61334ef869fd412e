"""What a step costs, counted before there is any data: parameters, FLOP, memory, messages.

The model is built and run on torch's meta device: shapes and no numbers. A multiply-add is two
FLOP, as torch counts them; only matrix products and convolutions are counted.

Legend: P processes, n images of a batch on one of them, N = P n, d embedding dimension, c clusters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vilseg_core.models import ModelConfig, ViLSeg, build_model
from vilseg_train.card import count_parameters
from vilseg_train.config import RunConfig

_FLOAT = 4
_DOUBLE = 8


@dataclass(frozen=True)
class Work:
    """Of one process and one step: FLOP forward and backward, bytes kept for the backward pass."""

    forward: int = 0
    backward: int = 0
    kept: int = 0

    @property
    def flop(self) -> int:
        """Both passes."""
        return self.forward + self.backward

    def repeated(self, times: int) -> "Work":
        """The same one time after another: what is kept is given free in between."""
        return Work(times * self.forward, times * self.backward, self.kept)

    def in_chunks(self, share: float) -> "Work":
        """The same with gradient caching: forward twice, a share kept at a time."""
        return Work(2 * self.forward, self.backward, int(share * self.kept))

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.forward + other.forward, self.backward + other.backward, self.kept + other.kept
        )


@dataclass(frozen=True)
class Estimate:
    """What a configuration costs on `processes` processes.

    Attributes:
        images: n, of one batch; a step has `train.accumulate` of them.
        parameters: part of the model -> how many.
        trainable: parameters that receive a gradient.
        work: part of a step -> its work, of one process.
        memory: what for -> bytes of one process, without what is alive for a moment only.
        wire: what for -> bytes that one process sends a step.
    """

    processes: int
    images: int
    parameters: Mapping[str, int]
    trainable: int
    work: Mapping[str, Work]
    memory: Mapping[str, int]
    wire: Mapping[str, int]

    @property
    def total_work(self) -> Work:
        """All parts of a step."""
        return sum(self.work.values(), Work())


def estimate(config: RunConfig, *, processes: int = 1) -> Estimate:
    """Count what `config` costs; its text encoder's vocabulary is taken as the tokenizer's limit.

    Raises:
        ValueError: the model cannot be built, or the batch cannot be divided.
    """
    train = config.train
    train.check_processes(processes)
    images = train.batch_size // (processes * train.accumulate)
    model = meta_model(planned_model(config))
    work = {
        name: part.repeated(train.accumulate)
        for name, part in step_work(model, config, images=images, processes=processes).items()
    }
    parameters = count_parameters(model)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(parameters.values())
    side = config.model.image.image_size
    return Estimate(
        processes=processes,
        images=images,
        parameters=parameters,
        trainable=trainable,
        work=work,
        memory={
            "weights": _FLOAT * total,
            "gradients": _FLOAT * trainable,
            "moments of AdamW": 2 * _FLOAT * trainable,
            "views": _FLOAT * images * 3 * _view_pixels(config, side=side),
            "kept for the backward pass": sum(part.kept for part in work.values()),
        },
        wire=wire_bytes(config, images=images, processes=processes, trainable=trainable),
    )


def planned_model(config: RunConfig) -> ModelConfig:
    """The model with the vocabulary that `config.tokenizer` allows, and without weights to read."""
    text = config.model.text.model_copy(
        update={
            "vocab_size": config.tokenizer.vocab_size,
            "context_length": config.tokenizer.context_length,
            "end_of_text": config.tokenizer.vocab_size - 1,
        }
    )
    return config.model.model_copy(update={"text": text}).without_sources()


def meta_model(config: ModelConfig) -> ViLSeg:
    """The model on the meta device: built at once, whatever its size."""
    with torch.device("meta"):
        return build_model(config)


def step_work(
    model: ViLSeg, config: RunConfig, *, images: int, processes: int = 1
) -> dict[str, Work]:
    """The work of one process on one batch, by part and view, while every loss is on.

    Activation checkpointing is not counted: it keeps less and computes the forward pass twice.

    model: on the meta device.
    """
    side, loss = config.model.image.image_size, config.loss
    width, clusters = config.model.embed_dim, config.model.cluster
    local = config.views.num_local if loss.local_views else 0
    grid = side // model.image_encoder.patch_size
    shape = (images, config.tokenizer.context_length)

    chunk = min(config.train.cache_chunk, images) / images

    def encode(number: int, size: int) -> Work:
        work = count(lambda: model.encode_image(_empty(number, 3, size, size)), model=model)
        return work.in_chunks(chunk) if chunk else work

    work = {"image encoder, global view": encode(images, side)}
    if local:
        work["image encoder, local views"] = encode(local * images, config.views.local_size)
        features = _empty((1 + local) * images, width, learns=True)
        work["prototypes"] = count(lambda: model.projection(features), model=model)
    if loss.cluster:
        learns = loss.cluster_gradient == "encoder"
        changed = encode(images, side)
        pixels = _empty(2 * images, width, grid, grid, learns=learns)
        work["image encoder, changed view"] = changed if learns else Work(changed.forward)
        work["clustering head"] = count(
            lambda: model.clustering_head.forward_all(pixels), model=model
        )
        work["mutual information"] = information_work(
            images * grid**2, clusters=clusters.clusters, heads=clusters.heads
        )
    if loss.cross:
        tokens = torch.zeros(shape, dtype=torch.int64, device="meta")
        text = count(lambda: model.encode_text(tokens), model=model)
        work["text encoder"] = text.in_chunks(chunk) if chunk else text
        work["contrast"] = contrast_work(images, images * processes, dim=width)
    return work


def count(run: Callable[[], Tensor | tuple[Tensor, ...]], *, model: nn.Module) -> Work:
    """Run something on the meta device, forward and backward; count both.

    Kept is what autograd holds between the two, without the parameters of `model`.
    """
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    counter = FlopCounterMode(display=False)
    with counter:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            outputs = run()
        forward = counter.get_total_flops()
        torch.autograd.backward([t.sum() for t in _tensors(outputs)])
    for parameter in model.parameters():
        parameter.grad = None
    return Work(forward, counter.get_total_flops() - forward, sum(kept.values()))


def contrast_work(images: int, joined: int, *, dim: int) -> Work:
    """InfoNCE of n images against N texts: one product forward, two backward."""
    product = 2 * images * joined * dim
    return Work(product, 2 * product, _FLOAT * (images + joined) * dim)


def information_work(pixels: int, *, clusters: int, heads: int) -> Work:
    """Joint matrices of c clusters over the pixels of two views: one product forward, two back."""
    product = 2 * pixels * clusters**2 * heads
    return Work(product, 2 * product, 2 * _FLOAT * pixels * clusters * heads)


def wire_bytes(config: RunConfig, *, images: int, processes: int, trainable: int) -> dict[str, int]:
    """Bytes that one process sends a step, all-reduces and gathers as rings do them."""
    loss, others, batches = config.loss, processes - 1, config.train.accumulate
    features = batches * images * config.model.embed_dim * _FLOAT * others
    joint = batches * config.model.cluster.heads * config.model.cluster.clusters**2 * _DOUBLE
    sent = {
        "gradients, all-reduced": 2 * others * trainable * _FLOAT // processes,
        "features of captions, gathered": features if loss.cross else 0,
        "their gradients, summed": features if loss.cross else 0,
        "joint matrices, all-reduced": 2 * others * joint // processes if loss.cluster else 0,
    }
    return {name: value for name, value in sent.items() if value}


def _tensors(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else outputs


def _empty(*shape: int, learns: bool = False) -> Tensor:
    return torch.empty(shape, device="meta", requires_grad=learns)


def _view_pixels(config: RunConfig, *, side: int) -> int:
    local = config.views.num_local if config.loss.local_views else 0
    changed = 1 if config.loss.cluster else 0
    return (1 + changed) * side**2 + local * config.views.local_size**2
