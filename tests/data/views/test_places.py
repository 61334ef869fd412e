"""Where views lie on one another: the algebra, and what the views really show there."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.views.cases import coordinates, generator, noise, seeds
from torch import Tensor

from vilseg_data.views import MultiCrop, Place, geometry, overlap
from vilseg_data.views.boxes import box_maps, crop, draw_boxes

grids = st.tuples(st.integers(1, 7), st.integers(1, 7))


def places(*shape: int, seed: int, size: tuple[int, int] = (40, 30)) -> Place:
    draws = torch.rand(*shape, 5, generator=generator(seed), dtype=torch.float64)
    boxes = draw_boxes(draws[..., :4], size=size, scale=(0.05, 1), ratio=(0.5, 2))
    return Place(boxes=boxes, flips=draws[..., 4] < 0.5)


def in_source(place: Place, points: Tensor) -> Tensor:
    """Slow loop: source pixels (..., 2) of shown normalised positions (..., 2) on one view."""
    x0, y0, x1, y1 = place.boxes.tolist()
    found = torch.empty_like(points, dtype=torch.float64)
    for out, (x, y) in zip(found.view(-1, 2), points.reshape(-1, 2).tolist(), strict=True):
        right = -x if bool(place.flips) else x
        out[0] = x0 + (right + 1) / 2 * (x1 - x0)
        out[1] = y0 + (y + 1) / 2 * (y1 - y0)
    return found


def centres(size: tuple[int, int], dtype: torch.dtype = torch.float64) -> Tensor:
    return geometry.grid(geometry.identity(1, dtype=dtype, device="cpu"), size=size)[0]


@settings(max_examples=200)
@given(seeds, grids)
def test_a_cell_and_its_place_on_the_other_view_are_one_place_of_the_source(
    seed: int, size: tuple[int, int]
) -> None:
    view, other = places(3, seed=seed), places(3, seed=seed + 1)
    found = overlap(view, other, size=size)
    assert found.grid.shape == (3, *size, 2)
    for i in range(3):
        here = in_source(view[i], centres(size))
        torch.testing.assert_close(in_source(other[i], found.grid[i]), here, rtol=0, atol=2e-4)
        x0, y0, x1, y1 = other.boxes[i].tolist()
        x, y = here.unbind(-1)
        margin = torch.stack([x - x0, x1 - x, y - y0, y1 - y]).amin(0)
        assert found.valid[i][margin > 1e-3].all()
        assert not found.valid[i][margin < -1e-3].any()


@given(seeds, grids)
def test_it_is_the_composition_of_the_maps_of_the_boxes(seed: int, size: tuple[int, int]) -> None:
    view, other = places(2, seed=seed), places(2, seed=seed + 1)
    maps = [box_maps(p.boxes.double(), p.flips, size=(40, 30)) for p in (view, other)]
    across = geometry.compose(geometry.invert(maps[1]), maps[0])
    expected = geometry.grid(across, size=size)
    found = overlap(view, other, size=size).grid.double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@given(seeds, grids)
def test_a_view_lies_on_itself_cell_on_cell(seed: int, size: tuple[int, int]) -> None:
    view = places(2, 3, seed=seed)
    found = overlap(view, view, size=size)
    assert found.valid.all()
    own = centres(size, torch.float32)
    assert torch.equal(found.grid, own.expand(2, 3, *size, 2))
    cells = torch.arange(size[0] * size[1]).view(size)
    assert torch.equal(found.index(size), cells.expand(2, 3, *size))


@given(seeds, grids)
def test_there_and_back_is_where_it_began(seed: int, size: tuple[int, int]) -> None:
    view, other = places(1, seed=seed), places(1, seed=seed + 1)
    there = overlap(view, other, size=size).grid.double()
    # The way back as a map: it is linear along each axis, so two of its centres give it.
    back = overlap(other, view, size=(2, 2)).grid[0].double()
    slope, middle = (back[1, 1] - back[0, 0]), (back[1, 1] + back[0, 0]) / 2
    torch.testing.assert_close(
        there[0] * slope + middle, centres(size), rtol=1e-4, atol=1e-4 * float(slope.abs().max())
    )


@given(seeds, grids)
def test_flips_mirror_columns_here_and_positions_there(seed: int, size: tuple[int, int]) -> None:
    view, other = places(2, seed=seed), places(2, seed=seed + 1)
    found = overlap(view, other, size=size)
    turned = overlap(Place(boxes=view.boxes, flips=~view.flips), other, size=size)
    torch.testing.assert_close(turned.grid, found.grid.flip(-2))
    turned = overlap(view, Place(boxes=other.boxes, flips=~other.flips), size=size)
    assert torch.equal(turned.grid, found.grid * torch.tensor([-1.0, 1.0]))
    assert torch.equal(turned.valid, found.valid)


@given(seeds, grids, grids)
def test_indices_are_the_cells_that_hold_the_centres(
    seed: int, size: tuple[int, int], onto: tuple[int, int]
) -> None:
    found = overlap(places(1, seed=seed), places(1, seed=seed + 1), size=size)
    index, where = found.index(onto)[0], found.positions(onto)[0]
    for row in range(size[0]):
        for column in range(size[1]):
            cell = int(index[row, column])
            x, y = where[row, column].tolist()
            if not found.valid[0, row, column]:
                assert cell == -1
                continue
            assert cell // onto[1] <= y <= cell // onto[1] + 1
            assert cell % onto[1] <= x <= cell % onto[1] + 1


@settings(max_examples=200)
@given(seeds, st.integers(1, 2), st.integers(10, 30), st.integers(10, 30))
def test_views_show_the_same_source_where_they_overlap(seed: int, n: int, h: int, w: int) -> None:
    multicrop = MultiCrop(global_size=24, local_size=12, num_local=3, local_scale=(0.1, 1))
    views = multicrop(coordinates(n, size=(h, w)), generator=generator(seed))
    found = overlap(views.local_places, views.global_place, size=(12, 12))
    assert found.valid.shape == (3, n, 12, 12)
    taken = found.take(views.global_view)[:, :, :2]
    off = (taken - views.local_views[:, :, :2]).abs().amax(2)
    # Away from the rims: the filter of the image's own rim, and half a cell of the global view.
    source = views.local_views[:, :, :2]
    reach = max(1.0, w / 12, h / 12) + max(1.0, w / 24, h / 24)
    edge = torch.tensor([w, h])[:, None, None]
    inner = ((source > reach) & (source < edge - reach)).all(2)
    inner &= (found.grid.abs() < 1 - 1 / 24).all(-1)
    # Two crops, each within 0.086 source pixels of its box.
    assert not (off[inner] > 2 * 0.086).any()


@given(seeds, st.integers(0, 2), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_taking_at_a_views_own_cells_gives_its_features(
    seed: int, n: int, dtype: torch.dtype
) -> None:
    features = noise(2, n, 5, 3, 4, seed=seed, dtype=dtype)
    view = places(2, n, seed=seed)
    taken = overlap(view, view, size=(3, 4)).take(features)
    assert taken.dtype == dtype
    tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(taken, features, rtol=0, atol=tolerance)


def test_patches_by_hand() -> None:
    # A global view of 16 x 16 and a mirrored local view that begins at its middle.
    whole = Place(boxes=torch.tensor([0.0, 0, 16, 16]), flips=torch.tensor(False))
    part = Place(boxes=torch.tensor([8.0, 8, 24, 16]), flips=torch.tensor(True))
    found = overlap(part, whole, size=(2, 2))
    assert found.index((4, 4)).tolist() == [[-1, 11], [-1, 15]]
    assert found.valid.tolist() == [[False, True], [False, True]]
    torch.testing.assert_close(found.positions((4, 4))[0, 1], torch.tensor([3.0, 2.5]))


def test_one_view_of_many_and_empty_batches() -> None:
    images = noise(4, 3, 20, 20, seed=0)
    views = MultiCrop(global_size=8, local_size=4, num_local=2)(images, generator=generator(0))
    all_of_them = overlap(views.global_place, views.local_places, size=(2, 2))
    second = overlap(views.global_place, views.local_places[1], size=(2, 2))
    assert torch.equal(all_of_them.grid[1], second.grid)
    none = MultiCrop(global_size=8, local_size=4)(images[:0])
    found = overlap(none.local_places, none.global_place, size=(3, 3))
    assert found.index((2, 2)).shape == (6, 0, 3, 3)
    assert found.take(none.global_view).shape == (6, 0, 3, 3, 3)


def test_gradients_flow_into_the_features() -> None:
    found = overlap(places(2, seed=0), places(2, seed=1), size=(3, 2))
    features = noise(2, 2, 3, 3, seed=2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: found.take(x), (features,))


def test_flips_of_a_crop_and_of_its_place_agree() -> None:
    image = noise(1, 3, 12, 12, seed=0)
    boxes, flips = torch.tensor([[[2.0, 2.0, 10.0, 10.0]]] * 2), torch.tensor([[False], [True]])
    straight, mirrored = crop(image, boxes, flips=flips, size=8)
    place = Place(boxes=boxes, flips=flips)
    taken = overlap(place[1], place[0], size=(8, 8)).take(straight)
    torch.testing.assert_close(taken, mirrored, rtol=0, atol=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    view = places(2, 3, seed=0)
    with pytest.raises(ValueError, match=r"boxes, flips: .* came \(2, 3, 4\) and \(3,\); give"):
        Place(boxes=view.boxes, flips=view.flips[0])
    with pytest.raises(ValueError, match=r"flips: expected torch\.bool, came torch\.int64; use"):
        Place(boxes=view.boxes, flips=view.flips.long())
    with pytest.raises(ValueError, match=r"size: expected \(h, w\) of at least 1, came \(0, 2\)"):
        overlap(view, view, size=(0, 2))
    with pytest.raises(
        ValueError, match=r"view, other: .* came \(2, 3\) and \(2,\); take the view"
    ):
        overlap(view, places(2, seed=1), size=(1, 1))
    found = overlap(view, view, size=(1, 1))
    for shape in ((3, 5), (2, 5, 4, 4)):
        with pytest.raises(ValueError, match=r"features: expected a shape that expands to \(2, 3,"):
            found.take(torch.zeros(shape))
