"""Gradient caching: a contrastive step on a large batch in the memory of a small one.

A contrastive loss couples all rows of a batch, so that its gradient cannot be summed over parts of
it; but it couples them through their features alone. Encode the parts without a graph, take the
loss and its gradient at the features, then encode each part again with a graph and hand it its
share of that gradient. The price is a second forward pass of the encoders.

Source: Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"
(2021).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from vilseg_core._numerics import without_autocast

Batch = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
Encoder = Callable[..., Tensor | tuple[Tensor, ...]]


def cached_contrastive_step(
    encoders: Sequence[Encoder],
    batches: Sequence[Batch],
    *,
    loss: Callable[..., Tensor],
    chunk: int,
) -> Tensor:
    """Add the gradient of `loss` on the whole batch to every `.grad`, `chunk` rows at a time.

        optimizer.zero_grad()
        value = cached_contrastive_step([image_encoder, text_encoder], [images, tokens],
                                        loss=SymmetricInfoNCE(), chunk=64)
        optimizer.step()

    is `loss(image_encoder(images), text_encoder(tokens)).backward()` with the activations of 64
    rows of one encoder in memory. The gradients are the same but for the order of summation; the
    parameters of `loss`, a temperature say, get theirs too. Torch's own random numbers (CPU and
    CUDA) are the same in both passes, dropout included, and go on afterwards as if there had been
    one pass.

    An encoder must treat each row by itself. Batch norm does not: it takes the statistics of a
    chunk, and moves its running ones twice.

    With `DistributedDataParallel`, pass the wrapped module itself as the encoder: its gradients are
    reduced once, in its last chunk. Wrap `loss` as well where it has parameters, and give it the
    group. Ranks may have batches of different sizes, and none.

    Args:
        encoders: one a tower; the same one may stand for several. Each gives a tensor of features,
            or a tuple of them, rows first.
        batches: one an encoder: a tensor, several (positional arguments) or a mapping (keyword
            arguments), rows first; data, not the result of a computation with a gradient.
        loss: takes the features of all encoders in turn, gives a 0-d tensor.
        chunk: rows encoded at a time, the last chunk being what is left.

    Returns:
        The value of the loss, 0-d, detached.

    Raises:
        ValueError: an argument is not as above.
    """
    if len(encoders) != len(batches) or not encoders:
        raise ValueError(
            f"encoders, batches: expected as many of the one as of the other and at least 1, came "
            f"{len(encoders)} and {len(batches)}; pass one batch for each encoder."
        )
    if not isinstance(chunk, int) or chunk < 1:
        raise ValueError(
            f"chunk: expected a whole number of rows, at least 1, came {chunk!r}; 64 is a start."
        )
    towers = [
        _Tower(encoder, batch, chunk=chunk, name=f"batches[{index}]")
        for index, (encoder, batch) in enumerate(zip(encoders, batches, strict=True))
    ]
    for tower in towers:
        tower.encode()
    # Autocast keeps its casts of the weights; before pytorch/pytorch#165068 those of a pass without
    # a graph were used again in the second pass, and the weights had no gradient.
    torch.clear_autocast_cache()
    with torch.enable_grad():
        value = loss(*(features for tower in towers for features in tower.features))
    _check_value(value)
    with without_autocast(value):
        torch.autograd.backward(value)
    live = [tower for tower in towers if any(x.grad is not None for x in tower.features)]
    after = _RandomState({device for tower in towers for device in tower.devices})
    try:
        for index, tower in enumerate(live):
            later = any(other.encoder is tower.encoder for other in live[index + 1 :])
            tower.backpropagate(reduce=not later)
    finally:
        after.restore()
    return value.detach()


class _RandomState:
    """The state of torch's own generators, of the CPU and of CUDA devices."""

    def __init__(self, devices: set[torch.device]) -> None:
        self.cpu = torch.get_rng_state()
        self.cuda = [(x, torch.cuda.get_rng_state(x)) for x in devices if x.type == "cuda"]

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        for device, state in self.cuda:
            torch.cuda.set_rng_state(state, device)


class _Tower:
    """An encoder, its batch in chunks, and the features of the whole batch as leaves."""

    def __init__(self, encoder: Encoder, batch: Batch, *, chunk: int, name: str) -> None:
        self.encoder = encoder
        self.chunks, self.devices = _split(batch, chunk, name=name)
        owner = getattr(encoder, "__self__", encoder)
        if isinstance(owner, nn.Module):
            self.devices |= {parameter.device for parameter in owner.parameters()}
        self.features: list[Tensor] = []
        self._rows: list[list[int]] = []
        self._states: list[_RandomState] = []

    @torch.no_grad()
    def encode(self) -> None:
        """The first pass: `features`, without a graph."""
        parts = []
        for positional, named in self.chunks:
            self._states.append(_RandomState(self.devices))
            parts.append(_as_tuple(self.encoder(*positional, **named)))
        for column in zip(*parts, strict=True):
            self._rows.append([len(part) for part in column])
            joined = torch.cat(column)
            self.features.append(joined.requires_grad_(joined.is_floating_point()))

    def backpropagate(self, *, reduce: bool) -> None:
        """The second pass: give each chunk its rows of the features' gradients.

        `reduce` says whether a distributed encoder is reduced in its last chunk.
        """
        shares = {
            index: torch.split(features.grad, rows)
            for index, (features, rows) in enumerate(zip(self.features, self._rows, strict=True))
            if features.grad is not None
        }
        for number, (positional, named) in enumerate(self.chunks):
            self._states[number].restore()
            last = number == len(self.chunks) - 1
            with nullcontext() if reduce and last else _no_sync(self.encoder):
                with torch.enable_grad():
                    outputs = _as_tuple(self.encoder(*positional, **named))
                pairs = [
                    (outputs[index], share[number])
                    for index, share in shares.items()
                    if outputs[index].requires_grad
                ]
                if not pairs:
                    # A frozen encoder: nothing in it waits for a gradient.
                    return
                with without_autocast(pairs[0][0]):
                    torch.autograd.backward([x for x, _ in pairs], [grad for _, grad in pairs])


def _no_sync(encoder: Encoder) -> AbstractContextManager[Any]:
    """What keeps a distributed module from reducing its gradients; nothing for the others."""
    no_sync = getattr(encoder, "no_sync", nullcontext)
    context: AbstractContextManager[Any] = no_sync()
    return context


def _as_tuple(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    parts = (output,) if isinstance(output, Tensor) else tuple(output)
    if not all(isinstance(part, Tensor) and part.ndim > 0 for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise ValueError(
            "encoders: expected a tensor of features, rows first, or a tuple of them from each, "
            f"came {kinds}; wrap the encoder in a function that gives its features."
        )
    return parts


def _split(
    batch: Batch, chunk: int, *, name: str
) -> tuple[list[tuple[tuple[Tensor, ...], dict[str, Tensor]]], set[torch.device]]:
    """Positional and keyword arguments of each chunk, and the devices they are on."""
    if isinstance(batch, Tensor):
        batch = (batch,)
    keys = list(batch) if isinstance(batch, Mapping) else []
    tensors = list(batch.values()) if isinstance(batch, Mapping) else list(batch)
    for tensor in tensors:
        if not isinstance(tensor, Tensor) or tensor.ndim == 0:
            raise ValueError(
                f"{name}: expected tensors with rows, came {type(tensor).__name__} without; bind "
                "what is the same for all rows to the encoder, by functools.partial."
            )
    counts = [len(tensor) for tensor in tensors]
    if len(set(counts)) != 1:
        raise ValueError(
            f"{name}: expected the same number of rows in each tensor, came {counts}; pass one row "
            "an example."
        )
    rows = zip(*(torch.split(tensor, chunk) for tensor in tensors), strict=True)
    chunks = [
        ((), dict(zip(keys, row, strict=True))) if keys else (row, dict[str, Tensor]())
        for row in rows
    ]
    return chunks, {tensor.device for tensor in tensors}


def _check_value(value: Tensor) -> None:
    if not isinstance(value, Tensor) or value.ndim != 0:
        came = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"loss: expected a 0-d tensor from it, came {came}; reduce it, by .mean() for instance."
        )
    if not value.requires_grad:
        raise ValueError(
            "loss: expected a value that depends on the features with a gradient, came one that "
            "does not; take out .detach(), .item() and torch.no_grad() within the loss."
        )
