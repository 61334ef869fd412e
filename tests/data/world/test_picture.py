"""The contact sheet shows scenes and, below them, their masks."""

import pytest
import torch

from vilseg_data.world import FIRST, WorldLabelled, contact_sheet, world_classes


def test_pictures_above_masks() -> None:
    sheet = contact_sheet(rows=2, columns=3, image_size=32)
    assert sheet.shape == (3, 4 * 34 - 2, 3 * 34 - 2)
    sample = WorldLabelled(count=6, image_size=32)[4]
    picture, mask = sheet[:, 68:100, 34:66], sheet[:, 102:134, 34:66]
    assert torch.equal(picture, sample.image)
    colours = torch.from_numpy(world_classes(FIRST).palette)[sample.labels]
    assert torch.equal(mask, colours.permute(2, 0, 1))


def test_an_empty_sheet_is_refused() -> None:
    with pytest.raises(ValueError, match="rows, columns: expected at least 1, came 0 and 8"):
        contact_sheet(rows=0)
