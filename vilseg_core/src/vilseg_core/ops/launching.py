"""What every launcher of kernels does."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def blocks(count: int, size: int) -> int:
    """Blocks of `size` that hold `count`."""
    return -(-count // size)


def on_device(tensor: Tensor) -> AbstractContextManager[object]:
    """Context in which kernels are launched where `tensor` is."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
