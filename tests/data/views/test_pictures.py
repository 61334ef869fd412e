"""MultiCrop of Pillow images: the views of tensors, for images of any sizes, in a loader."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.data.views.cases import generator, noise, seeds
from torch.utils.data import DataLoader, Dataset

from vilseg_data.views import MultiCrop, Views

MULTICROP = MultiCrop(global_size=10, local_size=5, num_local=2)
LOOKS = MultiCrop(global_size=10, local_size=5, num_local=2, contrast=0.3, grey=0.5, blur=0.5)


def picture(h: int, w: int, *, seed: int) -> Image.Image:
    pixels = (noise(h, w, 3, seed=seed) * 256).byte().numpy()
    return Image.fromarray(pixels)


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def assert_close(found: Views, expected: Views) -> None:
    for name, value in vars(expected).items():
        # Pillow rounds to 8 bits after each of two passes; Pillow's own weights add the rest.
        tolerance = 1.5 / 255 if name.endswith(("view", "views")) else 0
        torch.testing.assert_close(getattr(found, name), value, rtol=0, atol=tolerance)


@given(seeds, st.integers(0, 4), st.integers(1, 24), st.integers(1, 24))
def test_pictures_of_one_size_give_the_views_of_their_tensor(
    seed: int, n: int, h: int, w: int
) -> None:
    pictures = [picture(h, w, seed=seed + i) for i in range(n)]
    batch = torch.stack([tensor(p) for p in pictures]) if n else torch.zeros(0, 3, h, w)
    found = MULTICROP(pictures, generator=generator(seed))
    assert found.global_view.dtype == torch.float32
    assert_close(found, MULTICROP(batch, generator=generator(seed)))


@given(seeds, st.lists(st.tuples(st.integers(1, 24), st.integers(1, 24)), min_size=1, max_size=4))
def test_pictures_of_any_sizes_have_boxes_of_their_own(
    seed: int, sizes: list[tuple[int, int]]
) -> None:
    pictures = [picture(h, w, seed=seed + i) for i, (h, w) in enumerate(sizes)]
    views = LOOKS(pictures, generator=generator(seed))
    assert views.local_views.shape == (2, len(sizes), 3, 5, 5)
    for i, (h, w) in enumerate(sizes):
        boxes = torch.cat([views.global_boxes[None, i], views.local_boxes[:, i]])
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([w, h, w, h])).all()
        # Its place in the list decides the numbers, not the sizes of the others.
        alike = LOOKS([pictures[i]] * len(sizes), generator=generator(seed))
        assert torch.equal(alike.local_boxes[:, i], views.local_boxes[:, i])
        assert torch.equal(alike.local_views[:, i], views.local_views[:, i])
        assert torch.equal(alike.global_view[i], views.global_view[i])


def test_one_picture_is_a_batch_of_one() -> None:
    image = picture(12, 17, seed=0)
    alone, listed = (MULTICROP(x, generator=generator(0)) for x in (image, [image]))
    for name, value in vars(listed).items():
        assert torch.equal(getattr(alone, name), value)
    assert len(alone) == 1


class Photos(Dataset[Views]):
    """What a user writes: image and epoch decide the views, whoever loads them."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Views:
        image = picture(8 + index, 12, seed=index)
        return LOOKS(image, generator=generator(1000 + index))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_joins_what_its_workers_cut(workers: int) -> None:
    loader = DataLoader(
        Photos(),
        batch_size=2,
        num_workers=workers,
        collate_fn=Views.cat,
        multiprocessing_context="spawn" if workers else None,
    )
    batches = list(loader)
    assert [len(views) for views in batches] == [2, 2, 1]
    assert batches[0].local_views.shape == (2, 2, 3, 5, 5)
    for index in range(5):
        views, alone = batches[index // 2], Photos()[index]
        assert torch.equal(views.local_views[:, index % 2], alone.local_views[:, 0])
        assert torch.equal(views.global_boxes[index % 2], alone.global_boxes[0])
        assert torch.equal(views.local_flips[:, index % 2], alone.local_flips[:, 0])


def test_joining_keeps_everything_and_refuses_what_differs() -> None:
    images = noise(5, 3, 9, 9, seed=0)
    parts = [MULTICROP(images[s], generator=generator(1)) for s in (slice(0, 2), slice(2, 5))]
    joined = Views.cat(parts).to("cpu")
    assert len(joined) == 5
    assert torch.equal(joined.local_views[:, 2:], parts[1].local_views)
    assert torch.equal(joined.global_place.boxes[:2], parts[0].global_boxes)
    other = MultiCrop(global_size=10, local_size=4, num_local=2)(images)
    with pytest.raises(ValueError, match="parts: expected views of one multi-crop, came 2 diff"):
        Views.cat([parts[0], other])
    with pytest.raises(ValueError, match="parts: expected views of one multi-crop, came 0 diff"):
        Views.cat([])


def test_photos_of_any_size_give_views(shared_data: Path) -> None:
    paths = sorted((shared_data / "fixtures").rglob("*.jpg"))[:6]
    photos = [Image.open(path).convert("RGB") for path in paths]
    assert len({photo.size for photo in photos}) > 1
    views = MultiCrop(global_size=64, local_size=32)(photos, generator=generator(0))
    assert views.global_view.shape == (6, 3, 64, 64)
    for i, photo in enumerate(photos):
        same = MultiCrop(global_size=64, local_size=32)(
            tensor(photo)[None].expand(6, -1, -1, -1), generator=generator(0)
        )
        torch.testing.assert_close(
            views.global_view[i], same.global_view[i], rtol=0, atol=1.5 / 255
        )


def test_what_is_no_picture_is_refused() -> None:
    for images, message in (
        ([Image.new("CMYK", (4, 4))], r'mode RGB, came CMYK at 0; use image\.convert\("RGB"\)'),
        ([picture(4, 4, seed=0), torch.zeros(3, 4, 4)], "came Tensor at 1; stack tensors with"),
        ([Image.new("RGB", (0, 4))], r"at least one pixel, came \(0, 4\) at 0; leave it out"),
    ):
        with pytest.raises(ValueError, match=message):
            MULTICROP(images)  # type: ignore[arg-type]
