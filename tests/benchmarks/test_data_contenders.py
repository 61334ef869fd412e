"""Contenders of benchmarks.data do the same work: same shapes, and what is undone is back."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.data_decode import decoding, loading
from benchmarks.data_images import draw
from benchmarks.data_problems import Inputs, Problem, Unavailable
from benchmarks.data_views import cropping, undoing
from torch import Tensor

# webdataset leaves a shard open that nobody reads to its end.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """Three smooth images of 64 x 64, and four small files."""
    steps = torch.linspace(0, 1, 64)
    slopes = torch.stack([steps.expand(64, 64), steps.expand(64, 64).mT, torch.ones(64, 64) / 2])
    return Inputs(
        images=draw(4, width=48, height=40, seed=1),
        folder=tmp_path,
        batch=torch.stack([slopes, slopes.flip(0), 1 - slopes]),
        device="cpu",
        seed=0,
        size=32,
        local=16,
        num_local=2,
    )


def results(problem: Problem, stack: ExitStack) -> dict[str, Any]:
    """What each contender that is installed gives."""
    found = {}
    for contender in problem.contenders:
        try:
            found[contender.name] = contender.build(stack)()
        except Unavailable:
            assert contender.origin == "peer"
    return found


@pytest.mark.parametrize("size", [20, 30])
def test_decoders_agree_on_the_picture(inputs: Inputs, size: int) -> None:
    with ExitStack() as stack:
        found = results(decoding(inputs, size=size), stack)
    assert found.pop("Pillow raw decode") is None
    pictures = {name: torch.stack(images) for name, images in found.items()}
    ours = pictures["vilseg decode_image"]
    assert ours.shape == (3, 3, size, size)
    # torch rounds another way than Pillow between the two passes of a resize.
    assert apart(pictures["Pillow draft + resize"], ours) <= 1
    # At half of 40 rows a JPEG is decoded at its own half, and from there on another picture.
    assert (apart(pictures["Pillow + resize"], ours) <= 1) == (size == 30)
    if "torchvision decode_jpeg" in pictures:
        peer, whole = pictures["torchvision decode_jpeg"], pictures["Pillow + resize"]
        assert (peer.float() - whole.float()).abs().mean() < 2


def test_loaders_give_an_epoch_of_the_same_images(inputs: Inputs) -> None:
    with ExitStack() as stack:
        found = results(loading(inputs, size=30), stack)
    found.pop("Pillow raw decode")
    assert len(found) == 4
    first, *others = (sorted(sums_of(batches)) for batches in found.values())
    # Images of 2,700 values that differ by one level here and there.
    assert all(other == pytest.approx(first, abs=27) for other in others)


def apart(first: Tensor, second: Tensor) -> int:
    """The largest difference of two pictures, in levels."""
    return int((first.int() - second.int()).abs().max())


def sums_of(batches: list[Any]) -> list[int]:
    """The sum of each image's pixels."""
    images = torch.cat([torch.as_tensor(batch[0]) for batch in batches])
    assert images.shape == (12, 3, 30, 30)
    sums: list[int] = images.long().sum((1, 2, 3)).tolist()
    return sums


@pytest.mark.parametrize("looks", [False, True])
def test_croppers_cut_as_many_views_of_the_same_sizes(inputs: Inputs, looks: bool) -> None:
    with ExitStack() as stack, torch.random.fork_rng([]):
        found = results(cropping(inputs, looks=looks), stack)
    assert "vilseg MultiCrop, Pillow" in found
    for name, views in found.items():
        if name.startswith("vilseg"):
            assert views.global_view.shape == (3, 3, 32, 32)
            assert views.local_views.shape == (2, 3, 3, 16, 16)
        elif not name.startswith("lightly"):
            shapes = [tuple(view.shape) for view in views]
            assert shapes == [(3, 3, 32, 32), (3, 3, 16, 16), (3, 3, 16, 16)]
            assert {view.dtype for view in views} == {torch.float32}


@pytest.mark.parametrize("affine", [False, True])
def test_what_is_applied_is_undone_but_for_colour(inputs: Inputs, affine: bool) -> None:
    name = "torchvision v2, an image at a time"
    with ExitStack() as stack, torch.random.fork_rng([]):
        torch.manual_seed(0)
        found = results(undoing(inputs, affine=affine), stack)
    if name not in found:
        pytest.skip("torchvision is not installed")
    restored, _ = found["vilseg InvertibleAugmentation"]
    for back in (restored, found[name]):
        assert back.shape == inputs.batch.shape
        for one, image in zip(centre(back), centre(inputs.batch), strict=True):
            # A change of colour is linear, so slopes come back to one factor.
            assert correlation(one[0], image[0]) > 0.999


def centre(images: Tensor) -> Tensor:
    return images[..., 24:40, 24:40]


def correlation(first: Tensor, second: Tensor) -> float:
    first, second = first.flatten() - first.mean(), second.flatten() - second.mean()
    if not second.norm():
        return 1.0
    return float(first @ second / (first.norm() * second.norm()))
