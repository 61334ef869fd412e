"""The parameters of an invertible augmentation, as data that travels with the batch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from vilseg_data.views import geometry, symmetry


@dataclass(frozen=True, kw_only=True, eq=False)
class AugmentationParams:
    """What is done to each of n images, in this order: colour, flip, quarter turns, affine map.

    These form a group: `identity`, `compose` and `inverse` give parameters again, colours, flips
    and turns exactly, and however many changes are composed, an image is interpolated once.

    Args:
        gain: (n, 3) factor of each channel.
        bias: (n, 3) what is added to each channel.
        flip: (n,) bool, mirror left to right.
        affine: (n, 2, 3) map of `views.geometry`, or None for no image.
        turns: (n,) int64, clockwise quarter turns in 0..3, or None for no image.

    Raises:
        ValueError: the tensors do not have these shapes.
    """

    gain: Tensor
    bias: Tensor
    flip: Tensor
    affine: Tensor | None = None
    turns: Tensor | None = None

    def __post_init__(self) -> None:
        n = self.flip.shape[0] if self.flip.ndim == 1 else "n"
        wanted = {"gain": (n, 3), "bias": (n, 3), "flip": (n,), "affine": (n, 2, 3), "turns": (n,)}
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(
                    f"{name}: expected shape {shape}, came {tuple(value.shape)}; give a row an "
                    "image, as `sample` does"
                )
        if self.flip.dtype != torch.bool:
            raise ValueError(f"flip: expected torch.bool, came {self.flip.dtype}; use flip.bool()")
        if self.turns is not None and self.turns.dtype != torch.int64:
            raise ValueError(
                f"turns: expected torch.int64 in 0..3, came {self.turns.dtype}; use "
                "turns.long() % 4"
            )

    @classmethod
    def identity(cls, n: int, *, device: torch.device | str = "cpu") -> Self:
        """Parameters that change nothing."""
        return cls(
            gain=torch.ones(n, 3, device=device),
            bias=torch.zeros(n, 3, device=device),
            flip=torch.zeros(n, dtype=torch.bool, device=device),
        )

    @classmethod
    def from_affine(cls, affine: Tensor) -> Self:
        """Parameters that warp by any maps (n, 2, 3) of `views.geometry` and change no colour.

        Raises:
            ValueError: another shape, or a map without an inverse.
        """
        if affine.ndim != 3 or affine.shape[1:] != (2, 3):
            raise ValueError(
                f"affine: expected shape (n, 2, 3), came {tuple(affine.shape)}; give a map an "
                "image, affine[None] for one"
            )
        determinant = torch.linalg.det(affine[..., :2].double())
        if not bool((determinant.isfinite() & (determinant.abs() > 1e-6)).all()):
            raise ValueError(
                "affine: expected maps with an inverse, came a determinant of 0 or not finite; "
                "an augmentation that flattens the image cannot be undone"
            )
        return replace(cls.identity(affine.shape[0], device=affine.device), affine=affine)

    @classmethod
    def from_turns(cls, turns: Tensor) -> Self:
        """Parameters that turn by any whole numbers (n,) of quarters, clockwise as displayed."""
        return replace(cls.identity(turns.shape[0], device=turns.device), turns=turns.long() % 4)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(
            gain=change(self.gain),
            bias=change(self.bias),
            flip=change(self.flip),
            affine=None if self.affine is None else change(self.affine),
            turns=None if self.turns is None else change(self.turns),
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

        Exact for colours, flips and turns; an affine map is interpolated once instead of twice,
        and what the first change alone would have moved out of the image is still there.
        """
        affine = self.affine
        if affine is not None:
            # Flipping and turning after a map is doing so before the conjugated map.
            square = symmetry.as_maps(affine, flip=after.flip, turns=after.turns)
            affine = geometry.compose(geometry.invert(square), affine)
            affine = geometry.compose(affine, square)
        if after.affine is not None:
            affine = after.affine if affine is None else geometry.compose(affine, after.affine)
        return AugmentationParams(
            gain=self.gain * after.gain,
            bias=self.bias * after.gain + after.bias,
            flip=self.flip ^ after.flip,
            affine=affine,
            turns=symmetry.join_turns(self.turns, after.turns, second_flip=after.flip),
        )

    def inverse(self) -> "AugmentationParams":
        """The parameters that undo these, colour and geometry."""
        affine = self.affine
        if affine is not None:
            square = symmetry.as_maps(affine, flip=self.flip, turns=self.turns)
            affine = geometry.compose(square, geometry.invert(affine))
            affine = geometry.compose(affine, geometry.invert(square))
        return AugmentationParams(
            gain=1 / self.gain,
            bias=-self.bias / self.gain,
            flip=self.flip,
            affine=affine,
            turns=symmetry.inverse_turns(flip=self.flip, turns=self.turns),
        )
