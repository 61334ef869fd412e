"""The contact sheet shows what the views and the augmentation gave."""

import numpy as np
import pytest
import torch
from tests.data.views.cases import generator, noise

from vilseg_data.views import InvertibleAugmentation, MultiCrop
from vilseg_data.views.picture import contact_sheet

PLAIN = InvertibleAugmentation(gain=0, bias=0, flip=1)


def test_tiles_stand_in_rows_and_hold_the_copies() -> None:
    images = noise(2, 3, 20, 30, seed=0)
    sheet = contact_sheet(
        images,
        multicrop=MultiCrop(global_size=16, local_size=8, num_local=3),
        augmentation=PLAIN,
        generator=generator(0),
        tile=20,
    )
    # Four tiles of 30 and two of 20, a gap of 8 around each; a title of 24 above two rows of 20.
    assert sheet.size == (8 + 4 * 38 + 2 * 28, 24 + 2 * 28)
    pixels = torch.from_numpy(np.array(sheet)).permute(2, 0, 1).float() / 255
    for row in range(2):
        rows = slice(24 + row * 28, 44 + row * 28)
        left = 8 + 38 + 2 * 28
        for picture in (images[row].flip(-1), images[row], torch.ones(3, 20, 30)):
            found = pixels[:, rows, left : left + 30]
            torch.testing.assert_close(found, picture, rtol=0, atol=0.5 / 255 + 1e-6)
            left += 38


def test_dots_lie_where_the_local_view_lies() -> None:
    # One local view that is the whole image, as the global view is: nine dots at the nine centres.
    multicrop = MultiCrop(
        global_size=60,
        local_size=60,
        num_local=1,
        global_scale=(1, 1),
        local_scale=(1, 1),
        ratio=(1, 1),
    )
    sheet = contact_sheet(
        torch.zeros(1, 3, 60, 60),
        multicrop=multicrop,
        augmentation=PLAIN,
        generator=generator(0),
        tile=60,
    )
    pixels = np.array(sheet)[24:84, 8 + 68 : 8 + 68 + 60]
    red = (pixels == [255, 59, 48]).all(-1)
    for y in (10, 30, 50):
        for x in (10, 30, 50):
            assert red[y, x]
    assert not red[20].any()
    assert not red[:, 40].any()


@pytest.mark.parametrize("num_local", [0, 9])
def test_any_number_of_local_views_and_of_images(num_local: int) -> None:
    multicrop = MultiCrop(global_size=8, local_size=4, num_local=num_local)
    for n in (0, 1):
        images = torch.zeros(n, 3, 8, 8)
        sheet = contact_sheet(images, multicrop=multicrop, augmentation=PLAIN, tile=48)
        assert sheet.size == (8 + 6 * 56, 24 + n * 56)
