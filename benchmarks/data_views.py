"""Crops of a batch, with and without changed looks, and the augmentation that can be undone."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.data_problems import Contender, Inputs, Problem, Unavailable, load
from benchmarks.data_schema import Subject
from vilseg_data import InvertibleAugmentation, MultiCrop

# Colours, blur and solarising as self-distillation on crops commonly sets them.
_LOOKS: dict[str, Any] = {
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.2,
    "hue": 0.1,
    "jitter": 0.8,
    "grey": 0.2,
    "blur": (1.0, 0.5),
    "solarise": (0.2, 0.0),
}
# The zoom's range is its own reciprocal: peers below take the upper end to a power.
_AFFINE = InvertibleAugmentation(degrees=15.0, translate=0.1, scale=(0.8, 1.25))


def cropping(inputs: Inputs, *, looks: bool) -> Problem:
    """One global and six local views of each image of a batch."""
    crop = MultiCrop(global_size=inputs.size, local_size=inputs.local, num_local=inputs.num_local)
    crop = replace(crop, **_LOOKS) if looks else crop
    pictures = [_picture(image) for image in inputs.batch] if inputs.device == "cpu" else []
    images = list(inputs.batch)

    def vilseg(batch: Tensor | list[Image.Image]) -> Callable[[], object]:
        generator = torch.Generator().manual_seed(inputs.seed)
        return lambda: crop(batch, generator=generator)

    def torchvision(_: ExitStack) -> Callable[[], object]:
        views = _torchvision_views(crop, pictures=False)
        return lambda: [torch.stack([view(image) for image in images]) for view in views]

    def torchvision_pictures(_: ExitStack) -> Callable[[], object]:
        views = _torchvision_views(crop, pictures=True)
        return lambda: [torch.stack([view(image) for image in pictures]) for view in views]

    def kornia(_: ExitStack) -> Callable[[], object]:
        views = _kornia_views(crop, device=inputs.device)
        return lambda: [view(inputs.batch) for view in views]

    contenders = [
        Contender("vilseg MultiCrop", "vilseg", lambda _: vilseg(inputs.batch)),
        Contender("torchvision v2, an image at a time", "peer", torchvision),
        Contender("kornia", "peer", kornia),
    ]
    if pictures:
        contenders += [
            Contender("vilseg MultiCrop, Pillow", "vilseg", lambda _: vilseg(pictures)),
            Contender("torchvision v2, Pillow", "peer", torchvision_pictures),
            Contender(
                "lightly, Pillow", "peer", lambda _: _lightly(crop, pictures=pictures, looks=looks)
            ),
        ]
    n, pixels = len(images), inputs.size**2 + inputs.num_local * inputs.local**2
    subject: Subject = "looks" if looks else "multicrop"
    sizes = {"image": images[0].shape[-1], "global": inputs.size, "local": inputs.local}
    least = inputs.batch.nbytes + n * 3 * pixels * inputs.batch.element_size()
    return Problem(
        subject, n, {**sizes, "num_local": inputs.num_local}, tuple(contenders), least_bytes=least
    )


def undoing(inputs: Inputs, *, affine: bool) -> Problem:
    """Draw, apply to images, and invert on tensors of the same shape (n, 3, s, s)."""
    augmentation = _AFFINE if affine else InvertibleAugmentation()
    batch, n = inputs.batch, len(inputs.batch)

    def vilseg(_: ExitStack) -> Callable[[], object]:
        generator = torch.Generator().manual_seed(inputs.seed)

        def call() -> object:
            params = augmentation.sample(n, generator=generator, device=batch.device)
            return augmentation.invert(augmentation.apply(batch, params), params)

        return call

    contenders = (
        Contender("vilseg InvertibleAugmentation", "vilseg", vilseg),
        Contender(
            "torchvision v2, an image at a time",
            "peer",
            lambda _: _torchvision_there_and_back(augmentation, batch, affine=affine),
        ),
        Contender("kornia", "peer", lambda _: _kornia_there_and_back(augmentation, batch)),
    )
    return Problem(
        "affine" if affine else "flip",
        n,
        {"image": batch.shape[-1]},
        contenders,
        # Read and written once to apply, once to invert.
        least_bytes=4 * batch.nbytes,
    )


def _picture(image: Tensor) -> Image.Image:
    return Image.fromarray((image * 255).round().byte().permute(1, 2, 0).contiguous().numpy())


def _kinds(crop: MultiCrop) -> list[tuple[int, int, tuple[float, float]]]:
    """Kind, side and scale of each view, as MultiCrop orders them."""
    local = (1, crop.local_size, crop.local_scale)
    return [(0, crop.global_size, crop.global_scale), *[local] * crop.num_local]


def _chance(crop: MultiCrop, name: str, kind: int) -> float:
    value = asdict(crop)[name]
    return float(value[kind] if isinstance(value, tuple) else value)


def _jitter(crop: MultiCrop) -> dict[str, float]:
    return {name: getattr(crop, name) for name in ("brightness", "contrast", "saturation", "hue")}


def _kernel(side: int) -> int:
    """An odd width of a tenth of the view, the usual one of a library that asks for it."""
    return side // 20 * 2 + 1


def _torchvision_views(crop: MultiCrop, *, pictures: bool) -> list[Callable[[Any], Tensor]]:
    v2 = load("torchvision.transforms.v2", package="torchvision")
    views = []
    for kind, side, scale in _kinds(crop):
        steps = [
            v2.RandomResizedCrop(side, scale=scale, ratio=crop.ratio, antialias=True),
            v2.RandomHorizontalFlip(_chance(crop, "flip", kind)),
        ]
        if crop.hue:
            blur = v2.GaussianBlur(_kernel(side), sigma=crop.blur_sigma)
            steps += [
                v2.RandomApply([v2.ColorJitter(**_jitter(crop))], p=_chance(crop, "jitter", kind)),
                v2.RandomGrayscale(_chance(crop, "grey", kind)),
                v2.RandomApply([blur], p=_chance(crop, "blur", kind)),
                v2.RandomSolarize(128 if pictures else 0.5, p=_chance(crop, "solarise", kind)),
            ]
        if pictures:
            steps += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        views.append(v2.Compose(steps))
    return views


def _kornia_views(crop: MultiCrop, *, device: str) -> list[Callable[[Tensor], Tensor]]:
    k = load("kornia.augmentation", package="kornia")
    views: list[Callable[[Tensor], Tensor]] = []
    for kind, side, scale in _kinds(crop):
        steps = [
            k.RandomResizedCrop((side, side), scale=scale, ratio=crop.ratio),
            k.RandomHorizontalFlip(p=_chance(crop, "flip", kind)),
        ]
        if crop.hue:
            width = _kernel(side)
            blur = _chance(crop, "blur", kind)
            steps += [
                k.ColorJitter(**_jitter(crop), p=_chance(crop, "jitter", kind)),
                k.RandomGrayscale(p=_chance(crop, "grey", kind)),
                k.RandomGaussianBlur((width, width), crop.blur_sigma, p=blur),
                k.RandomSolarize(0.0, 0.0, p=_chance(crop, "solarise", kind)),
            ]
        views.append(torch.nn.Sequential(*steps).to(device))
    return views


def _lightly(crop: MultiCrop, *, pictures: list[Image.Image], looks: bool) -> Callable[[], object]:
    if not looks:
        raise Unavailable("its transforms change the looks of every view: see looks")
    transforms = load("lightly.transforms", package="lightly")
    # Two global views at least; the second is left out so that as many views are made.
    transform = transforms.DINOTransform(
        global_crop_size=crop.global_size,
        global_crop_scale=crop.global_scale,
        local_crop_size=crop.local_size,
        local_crop_scale=crop.local_scale,
        n_local_views=crop.num_local,
    )
    transform.transforms = [transform.transforms[0], *transform.transforms[2:]]
    return lambda: [transform(picture) for picture in pictures]


def _torchvision_there_and_back(
    augmentation: InvertibleAugmentation, batch: Tensor, *, affine: bool
) -> Callable[[], object]:
    functional = load("torchvision.transforms.v2.functional", package="torchvision")
    bilinear = functional.InterpolationMode.BILINEAR
    n, side, high = len(batch), batch.shape[-1], augmentation.scale[1]

    def warp(image: Tensor, angle: float, shift: list[float], zoom: float) -> Any:
        return functional.affine(image, angle, shift, zoom, [0.0, 0.0], interpolation=bilinear)

    def is_flipped(numbers: list[float]) -> bool:
        return numbers[0] < 2 * augmentation.flip - 1

    def motion(numbers: list[float]) -> tuple[float, float, float, float]:
        x, y = (augmentation.translate * side * number for number in numbers[5:])
        return augmentation.degrees * numbers[3], high ** numbers[4], x, y

    def there(image: Tensor, numbers: list[float]) -> Tensor:
        changed = image * (1 + augmentation.gain * numbers[1]) + augmentation.bias * numbers[2]
        changed = functional.horizontal_flip(changed) if is_flipped(numbers) else changed
        if affine:
            angle, zoom, x, y = motion(numbers)
            changed = warp(changed, angle, [x, y], zoom)
        return changed

    def back(image: Tensor, numbers: list[float]) -> Tensor:
        if affine:
            angle, zoom, x, y = motion(numbers)
            # Turned and zoomed about the centre before it is shifted: the shift turns back too.
            cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            shift = [-(cos * x + sin * y) / zoom, (sin * x - cos * y) / zoom]
            image = warp(image, -angle, shift, 1 / zoom)
        return functional.horizontal_flip(image) if is_flipped(numbers) else image

    def call() -> Tensor:
        draws = (torch.rand(n, 7) * 2 - 1).tolist()
        # A batch in between: that is what an encoder takes and gives.
        changed = torch.stack([there(*item) for item in zip(batch, draws, strict=True)])
        return torch.stack([back(*item) for item in zip(changed, draws, strict=True)])

    return call


def _kornia_there_and_back(
    augmentation: InvertibleAugmentation, batch: Tensor
) -> Callable[[], object]:
    k = load("kornia.augmentation", package="kornia")
    steps = [k.RandomHorizontalFlip(p=augmentation.flip)]
    if augmentation.degrees:
        shift = (augmentation.translate, augmentation.translate)
        steps.append(
            k.RandomAffine(augmentation.degrees, translate=shift, scale=augmentation.scale, p=1.0)
        )
    steps.insert(0, k.ColorJiggle(brightness=augmentation.gain, p=1.0))
    sequence = k.AugmentationSequential(*steps, data_keys=["input"]).to(batch.device)
    return lambda: sequence.inverse(sequence(batch))
