"""What the functions and layers share: precision rules and argument checks."""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def at_least_float32(*tensors: Tensor) -> torch.dtype:
    """The dtype to compute in: float32, or float64 where any of `tensors` is float64."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """Context in which products keep their operands' dtype, whatever autocast is active."""
    # None is on: torch.export cannot save a context, and the meta device knows no autocast.
    device = tensor.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device_type=device, enabled=False)


def check_floating(name: str, tensor: Tensor) -> None:
    """Refuse a tensor of integers or booleans."""
    if not tensor.is_floating_point():
        raise ValueError(
            f"{name}: expected a floating-point tensor, came {tensor.dtype}; "
            f"convert it with {name}.float()."
        )


def check_positive(name: str, value: float) -> None:
    """Refuse a number that is not positive and finite."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}: expected a positive finite number, came {value!r}; set it > 0.")


def check_count(name: str, value: int) -> None:
    """Refuse what is no whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected a positive whole number, came {value!r}; set it >= 1.")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that is not among `choices`."""
    if value not in choices:
        expected = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}: expected one of {expected}, came {value!r}; choose one of them.")
