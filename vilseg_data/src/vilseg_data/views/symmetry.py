"""The eight symmetries of a square, exact on pixels: mirror left to right, then quarter turns.

Notation: n images (n, c, h, w); flip (n,) bool; turns (n,) int64 in 0..3, clockwise as displayed,
or None for no turn at all. Maps are those of `geometry`.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from vilseg_data.views import geometry
from vilseg_data.views.blocks import joined


def act(values: Tensor, *, flip: Tensor, turns: Tensor | None) -> Tensor:
    """Mirror, then turn each image: a permutation of its pixels, of any dtype.

    Raises:
        ValueError: an odd number of quarter turns, and images that are not square.
    """
    if values.device.type == "cpu" and len(values):
        # Image by image: on a CPU selecting pixel by pixel is slower.
        moved = each_moved(torch.split(values, 1), flip=flip, turns=turns)
        return joined(((value,) for value in moved), n=len(values))[0]
    h, w = values.shape[-2:]
    flipped = torch.where(_each(flip), values.flip(-1), values)
    if turns is None:
        return flipped
    check_square(turns, size=(h, w))
    turned = flipped
    # Clockwise: one turn is a transposition and a mirror left to right.
    if h == w:
        turned = torch.where(_each(turns % 2 == 1), turned.mT, turned)
    turned = torch.where(_each((turns == 1) | (turns == 2)), turned.flip(-1), turned)
    return torch.where(_each(turns >= 2), turned.flip(-2), turned)


def each_moved(values: Iterable[Tensor], *, flip: Tensor, turns: Tensor | None) -> Iterator[Tensor]:
    """As `act`, on images (1, c, h, w) one by one; views of them where nothing moves."""
    quarters = [0] * len(flip) if turns is None else turns.tolist()
    for value, flips, turn in zip(values, flip.tolist(), quarters, strict=True):
        yield _move(value, flip=flips, turns=turn)


def _move(value: Tensor, *, flip: bool, turns: int) -> Tensor:
    """One image mirrored and turned; a view of it if nothing moves."""
    if turns % 2:
        if value.shape[-2] != value.shape[-1]:
            raise _not_square(*value.shape[-2:])
        value = value.mT
        # Transposed, a mirror left to right is one top to bottom.
        mirrors = [-1] * (turns == 1) + [-2] * (turns == 3)
        mirrors += [-2] * flip
    else:
        mirrors = [-1, -2] * (turns == 2) + [-1] * flip
    odd = [dim for dim in (-2, -1) if mirrors.count(dim) % 2]
    return value.flip(odd) if odd else value


def _not_square(h: int, w: int) -> ValueError:
    return ValueError(
        f"turns: expected half turns of images of {h} x {w}, came a quarter turn, after which they "
        "would have another size; use square images or quarter_turn=0"
    )


def check_square(turns: Tensor | None, *, size: Sequence[int]) -> None:
    """Refuse odd quarter turns of images of `size` (h, w) that are not square; ValueError."""
    h, w = size
    if turns is not None and h != w and bool((turns % 2 == 1).any()):
        raise _not_square(h, w)


def undo(values: Tensor, *, flip: Tensor, turns: Tensor | None) -> Tensor:
    """The inverse of `act` with the same numbers."""
    return act(values, flip=flip, turns=inverse_turns(flip=flip, turns=turns))


def inverse_turns(*, flip: Tensor, turns: Tensor | None) -> Tensor | None:
    """The turns that undo, after the same flip, a flip and turns."""
    # A mirror reverses the sense of turning, so what has one is its own inverse.
    return None if turns is None else torch.where(flip, turns, -turns % 4)


def join_turns(
    first: Tensor | None, second: Tensor | None, *, second_flip: Tensor
) -> Tensor | None:
    """The turns of one symmetry and then another; their flips are joined by `^`."""
    if first is None:
        return second
    first = torch.where(second_flip, -first % 4, first)
    return first if second is None else (first + second) % 4


def as_maps(like: Tensor, *, flip: Tensor, turns: Tensor | None) -> Tensor:
    """The maps (n, 2, 3) of `act` on square images, in the dtype of `like`."""
    sign = 1 - 2 * flip.to(like)
    one, zero = torch.ones_like(sign), torch.zeros_like(sign)
    maps = torch.stack([sign, zero, zero, zero, one, zero], -1).view(-1, 2, 3)
    if turns is None:
        return maps
    cosine = torch.tensor([1, 0, -1, 0]).to(like)[turns]
    sine = torch.tensor([0, 1, 0, -1]).to(like)[turns]
    turn = torch.stack([cosine, sine, zero, -sine, cosine, zero], -1).view(-1, 2, 3)
    return geometry.compose(maps, turn)


def _each(chosen: Tensor) -> Tensor:
    return chosen[:, None, None, None]
