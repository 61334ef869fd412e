"""Several losses as one: named, weighted, each with its value."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from vilseg_core.losses.tables import check_outputs, is_part_name, read_tables, signature_of


@dataclass(frozen=True)
class Part:
    """A loss, its weight, and which of the named outputs it takes.

    Args:
        loss: a module or a function; gives a 0-d tensor.
        inputs: the outputs that are its positional arguments, in their order.
        weight: its factor in the total; at 0 the loss is not computed.
        keyword_inputs: argument -> output, for those that it takes by name.

    Raises:
        ValueError: an argument is not as above.
    """

    loss: Callable[..., Tensor]
    _: KW_ONLY
    inputs: Sequence[str]
    weight: float = 1.0
    keyword_inputs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not callable(self.loss):
            raise ValueError(
                f"loss: expected a module or a function, came {self.loss!r}; pass what computes "
                "the loss."
            )
        if isinstance(self.inputs, str):
            raise ValueError(
                f"inputs: expected a sequence of names, came {self.inputs!r}; write "
                f"({self.inputs!r},) for one."
            )
        if not math.isfinite(self.weight):
            raise ValueError(
                f"weight: expected a finite number, came {self.weight!r}; 1 is neutral, 0 turns "
                "the loss off."
            )
        _check_arguments(self.loss, self.inputs, self.keyword_inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every output that the loss takes."""
        return (*self.inputs, *self.keyword_inputs.values())


class CompositeLoss(nn.Module):
    """The weighted sum of named losses over named outputs.

        loss = CompositeLoss({
            "cross": Part(SymmetricInfoNCE(), inputs=("image", "text")),
            "cluster": Part(MutualInformationLoss(), weight=0.5, inputs=("first", "second"),
                            keyword_inputs={"mask": "valid"}),
        })
        total, values = loss({"image": image, "text": text, "first": a, "second": b, "valid": m})
        total.backward()

    What the losses learn is learnt and saved with this module, under `losses.<name>.`.

    Attributes:
        weights: name -> weight; write to it for a schedule.

    Args:
        parts: name -> part; names are identifiers.

    Raises:
        ValueError: a name cannot be used.
    """

    def __init__(self, parts: Mapping[str, Part]) -> None:
        super().__init__()
        for name in parts:
            if not is_part_name(name):
                raise ValueError(
                    "parts: expected names of letters, digits and underscores, none of "
                    f"torch.nn.ModuleDict's own, came {name!r}; choose another."
                )
        self.parts = dict(parts)
        self.weights = {name: part.weight for name, part in parts.items()}
        self.losses = nn.ModuleDict(
            {name: part.loss for name, part in parts.items() if isinstance(part.loss, nn.Module)}
        )

    @classmethod
    def from_config(cls, tables: Iterable[Mapping[str, Any]]) -> Self:
        """The loss that tables of a configuration describe, as TOML or JSON gives them.

            [{"name": "cross", "loss": "vilseg_core:SymmetricInfoNCE", "weight": 1.0,
              "inputs": ["image", "text"], "options": {"temperature": 0.1}}]

        `loss` names any importable class, of which `options` are the constructor's arguments, or
        function, of which they are further arguments. `weight` (1), `options` and
        `keyword_inputs` (argument -> output) may be left out.

        Raises:
            ValueError: says which entry is at fault, and what to do.
        """
        parts = {}
        for table in read_tables(tables):
            try:
                parts[table.name] = Part(
                    table.build(),
                    inputs=table.inputs,
                    weight=table.weight,
                    keyword_inputs=table.keyword_inputs,
                )
            except ValueError as error:
                raise ValueError(f"{table.where}: {error}") from error
        return cls(parts)

    def forward(self, outputs: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs by name -> the 0-d total, and each part's own value, unweighted and detached.

        A part of weight 0 is not computed and has no value; its outputs may be missing. Without
        any part the total is 0.

        Raises:
            ValueError: an output is missing, or a loss gives something else than a 0-d tensor.
        """
        total = torch.zeros(())
        values: dict[str, Tensor] = {}
        for name, part in self.parts.items():
            weight = self.weights[name]
            if weight == 0:
                continue
            check_outputs(name, part.outputs, outputs)
            loss = self.losses[name] if isinstance(part.loss, nn.Module) else part.loss
            value = loss(
                *(outputs[key] for key in part.inputs),
                **{argument: outputs[key] for argument, key in part.keyword_inputs.items()},
            )
            _check_value(name, value)
            total = total + weight * value if values else weight * value
            values[name] = value.detach()
        return total, values

    def check_outputs(self, names: Collection[str]) -> None:
        """Refuse, before any is computed, outputs that are not among `names`.

        Raises:
            ValueError: names the part, the output, and the nearest one that there is.
        """
        for name, part in self.parts.items():
            check_outputs(name, part.outputs, names)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}: {weight:g}" for name, weight in self.weights.items())


def _check_value(name: str, value: Any) -> None:
    if not isinstance(value, Tensor) or value.ndim != 0:
        came = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"{name}: expected a 0-d tensor from the loss, came {came}; reduce it, by .mean() for "
            "instance."
        )


def _check_arguments(
    loss: Callable[..., Any], inputs: Sequence[str], keyword_inputs: Mapping[str, str]
) -> None:
    """Refuse inputs that do not fit the loss's signature, where it has one."""
    signature = signature_of(loss)
    if signature is None:
        return
    try:
        signature.bind(*inputs, **keyword_inputs)
    except TypeError as error:
        raise ValueError(
            f"inputs: expected those of {signature}, came {list(inputs)} and by name "
            f"{list(keyword_inputs)}: {error}; name one output for each argument."
        ) from error
