"""A sheet of scenes above their masks, to see what the world looks like."""

import torch
from torch import Tensor

from vilseg_data.world.dataset import WorldLabelled

_GAP = 2


def contact_sheet(
    *,
    world: str = "world",
    rows: int = 3,
    columns: int = 8,
    image_size: int = 64,
    split: str = "val",
    seed: int = 0,
) -> Tensor:
    """The first rows * columns scenes of a split, each row followed by the row of its masks.

    Returns uint8 (3, 2 * rows * (image_size + 2) - 2, columns * (image_size + 2) - 2).
    """
    if rows < 1 or columns < 1:
        raise ValueError(
            f"rows, columns: expected at least 1, came {rows} and {columns}; raise them"
        )
    scenes = WorldLabelled(
        world=world, split=split, count=rows * columns, image_size=image_size, seed=seed
    )
    palette = torch.from_numpy(scenes.classes.palette)
    step = image_size + _GAP
    sheet = torch.full((3, 2 * rows * step - _GAP, columns * step - _GAP), 255, dtype=torch.uint8)
    for index in range(len(scenes)):
        sample = scenes[index]
        top, left = 2 * (index // columns) * step, (index % columns) * step
        mask = palette[sample.labels].permute(2, 0, 1)
        for offset, picture in ((0, sample.image), (step, mask)):
            row = slice(top + offset, top + offset + image_size)
            sheet[:, row, left : left + image_size] = picture
    return sheet
