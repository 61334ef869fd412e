"""The parameters of an invertible augmentation, as data that travels with the batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from vilseg_data.views import geometry


@dataclass(frozen=True, kw_only=True, eq=False)
class AugmentationParams:
    """What is done to each of n images, in this order: colour, flip, affine map.

    Args:
        gain: (n, 3) factor of each channel.
        bias: (n, 3) what is added to each channel.
        flip: (n,) bool, mirror left to right.
        affine: (n, 2, 3) map of `views.geometry`, or None for no image.

    Raises:
        ValueError: the tensors do not have these shapes.
    """

    gain: Tensor
    bias: Tensor
    flip: Tensor
    affine: Tensor | None = None

    def __post_init__(self) -> None:
        n = self.flip.shape[0] if self.flip.ndim == 1 else "n"
        wanted = {"gain": (n, 3), "bias": (n, 3), "flip": (n,), "affine": (n, 2, 3)}
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(f"{name}: expected shape {shape}, got {tuple(value.shape)}")
        if self.flip.dtype != torch.bool:
            raise ValueError(f"flip: expected torch.bool, got {self.flip.dtype}; use flip.bool()")

    @classmethod
    def from_affine(cls, affine: Tensor) -> Self:
        """Parameters that warp by any maps (n, 2, 3) of `views.geometry` and change no colour.

        Raises:
            ValueError: another shape, or a map without an inverse.
        """
        if affine.ndim != 3 or affine.shape[1:] != (2, 3):
            raise ValueError(f"affine: expected shape (n, 2, 3), got {tuple(affine.shape)}")
        n, device = affine.shape[0], affine.device
        determinant = torch.linalg.det(affine[..., :2].double())
        if not bool((determinant.isfinite() & (determinant.abs() > 1e-6)).all()):
            raise ValueError(
                "affine: expected maps with an inverse, got a determinant of 0 or not finite; "
                "an augmentation that flattens the image cannot be undone"
            )
        return cls(
            gain=torch.ones(n, 3, device=device),
            bias=torch.zeros(n, 3, device=device),
            flip=torch.zeros(n, dtype=torch.bool, device=device),
            affine=affine,
        )

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(
            gain=change(self.gain),
            bias=change(self.bias),
            flip=change(self.flip),
            affine=None if self.affine is None else change(self.affine),
        )

    def __len__(self) -> int:
        return self.flip.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Self:
        """The parameters of some of the images; `index` keeps the batch dimension."""
        return self._map(lambda value: value[index])

    def to(self, device: torch.device | str) -> Self:
        """The same parameters on `device`."""
        return self._map(lambda value: value.to(device))

    def compose(self, after: "AugmentationParams") -> "AugmentationParams":
        """The parameters of applying `self`, then `after`, to the same images.

        Exact for colours and flips; an affine map is interpolated once instead of twice.
        """
        affine = self.affine
        if affine is not None:
            # Mirroring after a map is mirroring before the mirrored map.
            sign = torch.where(after.flip, -1, 1).to(affine)[:, None, None]
            mirror = affine.new_tensor([[0, 1, 1], [1, 0, 0]]).bool()
            affine = torch.where(mirror, affine * sign, affine)
        if after.affine is not None:
            affine = after.affine if affine is None else geometry.compose(affine, after.affine)
        return AugmentationParams(
            gain=self.gain * after.gain,
            bias=self.bias * after.gain + after.bias,
            flip=self.flip ^ after.flip,
            affine=affine,
        )
