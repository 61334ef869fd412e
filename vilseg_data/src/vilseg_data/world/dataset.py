"""The built-in world as a caption source and as a labelled set.

Scene i of a split depends on (seed, split, i) alone: not on how many scenes there are, on the
order in which they are asked for, or on the image size.
"""

import colorsys
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vilseg_data.captions.sample import Broken, CaptionSample
from vilseg_data.labelled.classes import ClassList, LabelledSample
from vilseg_data.seeding import generator_for
from vilseg_data.world.language import caption
from vilseg_data.world.scene import NAMES, draw_scene, labels, owners, paint, visible

UNSEEN = ("wood", "fence", "ring", "kite", "mushroom")
MIN_SIZE = 32


def _classes() -> ClassList:
    # Hues a golden section apart, so that neighbouring ids differ most.
    colours = [
        colorsys.hsv_to_rgb(0.618034 * k % 1.0, 0.55 + 0.4 * (k % 2), 0.95 - 0.2 * (k % 3))
        for k in range(len(NAMES))
    ]
    return ClassList(
        names=NAMES,
        prompts=NAMES,
        unseen=tuple(NAMES.index(name) for name in UNSEEN),
        background=None,
        palette=(np.array(colours) * 255).astype(np.uint8),
    )


WORLD_CLASSES = _classes()


def _check(*, split: str, count: int, image_size: int, seed: int) -> None:
    if not split:
        raise ValueError(
            "split: expected a name, came ''; any name is a split, for instance 'train'"
        )
    if count < 1:
        raise ValueError(f"count: expected at least 1, came {count}; ask for one scene or more")
    if image_size < MIN_SIZE:
        raise ValueError(
            f"image_size: expected at least {MIN_SIZE}, came {image_size}; below that the shapes "
            "cannot be told apart, 64 is the usual size"
        )
    if seed < 0:
        raise ValueError(f"seed: expected at least 0, came {seed}; use 0 or more")


def _rng(seed: int, split: str, index: int) -> np.random.Generator:
    return generator_for(seed, int.from_bytes(split.encode(), "big"), index)


def _key(split: str, index: int) -> str:
    return f"{split}-{index:06d}"


def _position(index: int, count: int) -> int:
    if not -count <= index < count:
        raise IndexError(f"index: expected 0..{count - 1}, came {index}")
    return index % count


class WorldCaptions:
    """Scenes with captions: a `CaptionSource` that reads no file.

    `captions_per_image` captions are drawn for each scene, independently; the first is the same
    however many there are.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        count: int,
        image_size: int = 64,
        seed: int = 0,
        captions_per_image: int = 1,
    ) -> None:
        _check(split=split, count=count, image_size=image_size, seed=seed)
        if captions_per_image < 1:
            raise ValueError(
                f"captions_per_image: expected at least 1, came {captions_per_image}; "
                "every scene needs a caption"
            )
        self.name = f"world/{split}"
        self.split = split
        self.image_size = image_size
        self.seed = seed
        self.captions_per_image = captions_per_image
        self.broken: list[Broken] = []
        self._captions: list[tuple[str, ...] | None] = [None] * count

    def __len__(self) -> int:
        return len(self._captions)

    def _scene(self, index: int, *, image: bool) -> tuple[Tensor | None, tuple[str, ...]]:
        rng = _rng(self.seed, self.split, index)
        scene = draw_scene(rng)
        spoken = self._captions[index]
        if spoken is None:
            shown = visible(scene)
            spoken = tuple(caption(scene, shown, rng=rng) for _ in range(self.captions_per_image))
            self._captions[index] = spoken
        if not image:
            return None, spoken
        return torch.from_numpy(paint(scene, owners(scene, size=self.image_size))), spoken

    def __getitem__(self, index: int) -> CaptionSample:
        index = _position(index, len(self))
        image, spoken = self._scene(index, image=True)
        assert image is not None
        return CaptionSample(_key(self.split, index), image, spoken)

    def captions(self, index: int) -> tuple[str, ...]:
        """The captions of scene `index`; drawn once, then remembered."""
        index = _position(index, len(self))
        spoken = self._captions[index]
        return self._scene(index, image=False)[1] if spoken is None else spoken

    def keys(self) -> list[str]:
        """The key of every scene."""
        return [_key(self.split, index) for index in range(len(self))]

    def images(self, progress: Callable[[int, int], None] | None = None) -> Tensor:
        """Every image, uint8 (count, 3, image_size, image_size); remembers the captions too.

        `progress` is called with (done, count) every 256 scenes and at the end.
        """
        count = len(self)
        out = torch.empty((count, 3, self.image_size, self.image_size), dtype=torch.uint8)
        for index in range(count):
            image, _ = self._scene(index, image=True)
            assert image is not None
            out[index] = image
            if progress is not None and ((index + 1) % 256 == 0 or index + 1 == count):
                progress(index + 1, count)
        return out


class WorldLabelled:
    """Scenes with dense masks, for evaluation: 22 classes, no background, nothing to ignore."""

    def __init__(
        self, *, split: str = "val", count: int = 200, image_size: int = 64, seed: int = 0
    ) -> None:
        _check(split=split, count=count, image_size=image_size, seed=seed)
        self.name = "world"
        self.classes = WORLD_CLASSES
        self.split = split
        self.image_size = image_size
        self.seed = seed
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> LabelledSample:
        index = _position(index, self._count)
        scene = draw_scene(_rng(self.seed, self.split, index))
        owner = owners(scene, size=self.image_size)
        return LabelledSample(
            key=_key(self.split, index),
            image=torch.from_numpy(paint(scene, owner)),
            labels=torch.from_numpy(labels(scene, owner)).long(),
        )
