"""What a multi-crop gives: views and their places."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from vilseg_data.views.places import Place


@dataclass(frozen=True, kw_only=True, eq=False)
class Views:
    """The views of n images, each with its place in its source.

    Boxes are (x0, y0, x1, y1) in source pixels; where a flip is true, the view shows its box
    mirrored left to right. `views.places.overlap` finds one view on another.
    """

    global_view: Tensor  # (n, 3, g, g)
    local_views: Tensor  # (v, n, 3, l, l)
    global_boxes: Tensor  # (n, 4) float32
    local_boxes: Tensor  # (v, n, 4) float32
    global_flips: Tensor  # (n,) bool
    local_flips: Tensor  # (v, n) bool

    @classmethod
    def cat(cls, parts: Sequence["Views"]) -> Self:
        """The views of several batches as one batch: the `collate_fn` of a DataLoader.

        Raises:
            ValueError: no parts, or parts of different sizes or numbers of views.
        """
        shapes = {(*p.global_view.shape[1:], *p.local_views[:, :0].shape) for p in parts}
        if len(shapes) != 1:
            raise ValueError(
                f"parts: expected views of one multi-crop, came {len(shapes)} different shapes of "
                "views; use the same sizes and num_local for all images of a batch"
            )
        return cls(
            **{
                field.name: torch.cat(
                    [getattr(part, field.name) for part in parts], int("local" in field.name)
                )
                for field in fields(cls)
            }
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same views on `device`."""
        return type(self)(
            **{
                name: value.to(device, non_blocking=non_blocking)
                for name, value in vars(self).items()
            }
        )

    def __len__(self) -> int:
        return len(self.global_view)

    @property
    def global_place(self) -> Place:
        """Where the global views lie, (n,)."""
        return Place(boxes=self.global_boxes, flips=self.global_flips)

    @property
    def local_places(self) -> Place:
        """Where the local views lie, (v, n)."""
        return Place(boxes=self.local_boxes, flips=self.local_flips)
