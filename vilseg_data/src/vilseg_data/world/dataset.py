"""The built-in world as a caption source and as a labelled set.

Scene i of a split depends on (seed, split, i) alone: not on how many scenes there are, on the
order in which they are asked for, or on the image size. One seed gives the two worlds the same
layouts.
"""

import colorsys
from collections.abc import Callable
from functools import cache
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from vilseg_data.captions.sample import Broken, CaptionSample
from vilseg_data.labelled.classes import ClassList, LabelledSample
from vilseg_data.seeding import generator_for
from vilseg_data.world.first import FIRST
from vilseg_data.world.kinds import WorldKind
from vilseg_data.world.language import caption
from vilseg_data.world.scene import (
    Compositions,
    Scene,
    draw_scene,
    labels,
    owners,
    paint,
    visible,
)
from vilseg_data.world.second import SECOND

WORLDS = {world.name: world for world in (FIRST, SECOND)}
MIN_SIZE = 32


@cache
def world_classes(world: WorldKind) -> ClassList:
    """The class list of a world; its names are its prompts."""
    # Hues a golden section apart, so that neighbouring ids differ most.
    colours = [
        colorsys.hsv_to_rgb(0.618034 * k % 1.0, 0.55 + 0.4 * (k % 2), 0.95 - 0.2 * (k % 3))
        for k in range(len(world.names))
    ]
    return ClassList(
        names=world.names,
        prompts=world.names,
        unseen=tuple(world.names.index(name) for name in world.unseen),
        background=None,
        palette=(np.array(colours) * 255).astype(np.uint8),
    )


class _Scenes:
    """The scenes of a split, by number."""

    def __init__(
        self,
        *,
        world: str,
        split: str,
        count: int,
        image_size: int,
        seed: int,
        compositions: Compositions,
    ) -> None:
        _check(
            world=world,
            split=split,
            count=count,
            image_size=image_size,
            seed=seed,
            compositions=compositions,
        )
        self.world = WORLDS[world]
        self.split = split
        self.image_size = image_size
        self.seed = seed
        self.compositions: Compositions = compositions
        self._count = count

    def __len__(self) -> int:
        return self._count

    def _draw(self, index: int) -> tuple[Scene, np.random.Generator]:
        rng = generator_for(self.seed, int.from_bytes(self.split.encode(), "big"), index)
        return draw_scene(rng, world=self.world, compositions=self.compositions), rng

    def _key(self, index: int) -> str:
        return f"{self.split}-{index:06d}"

    def _position(self, index: int) -> int:
        if not -self._count <= index < self._count:
            raise IndexError(f"index: expected 0..{self._count - 1}, came {index}")
        return index % self._count


def _check(
    *, world: str, split: str, count: int, image_size: int, seed: int, compositions: str
) -> None:
    if world not in WORLDS:
        raise ValueError(f"world: expected one of {sorted(WORLDS)}, came {world!r}; choose one")
    if compositions not in get_args(Compositions):
        raise ValueError(
            f"compositions: expected one of {list(get_args(Compositions))}, came "
            f"{compositions!r}; 'any' leaves nothing out"
        )
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


class WorldCaptions(_Scenes):
    """Scenes with captions: a `CaptionSource` that reads no file.

    `captions_per_image` captions are drawn for each scene, independently; the first is the same
    however many there are. `compositions` "seen" leaves out the pairs of thing and texture that
    `WorldKind.held_out` names, "held-out" draws those things with that texture alone.
    """

    def __init__(
        self,
        *,
        world: str = "world",
        split: str = "train",
        count: int,
        image_size: int = 64,
        seed: int = 0,
        captions_per_image: int = 1,
        compositions: Compositions = "any",
    ) -> None:
        super().__init__(
            world=world,
            split=split,
            count=count,
            image_size=image_size,
            seed=seed,
            compositions=compositions,
        )
        if captions_per_image < 1:
            raise ValueError(
                f"captions_per_image: expected at least 1, came {captions_per_image}; "
                "every scene needs a caption"
            )
        self.name = f"{world}/{split}"
        self.captions_per_image = captions_per_image
        self.broken: list[Broken] = []
        self._captions: list[tuple[str, ...] | None] = [None] * count

    def _scene(self, index: int, *, image: bool) -> tuple[Tensor | None, tuple[str, ...]]:
        scene, rng = self._draw(index)
        spoken = self._captions[index]
        if spoken is None:
            shown = visible(scene)
            spoken = tuple(caption(scene, shown, rng=rng) for _ in range(self.captions_per_image))
            self._captions[index] = spoken
        if not image:
            return None, spoken
        return torch.from_numpy(paint(scene, owners(scene, size=self.image_size))), spoken

    def __getitem__(self, index: int) -> CaptionSample:
        index = self._position(index)
        image, spoken = self._scene(index, image=True)
        assert image is not None
        return CaptionSample(self._key(index), image, spoken)

    def captions(self, index: int) -> tuple[str, ...]:
        """The captions of scene `index`; drawn once, then remembered."""
        index = self._position(index)
        spoken = self._captions[index]
        return self._scene(index, image=False)[1] if spoken is None else spoken

    def keys(self) -> list[str]:
        """The key of every scene."""
        return [self._key(index) for index in range(len(self))]

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


class WorldLabelled(_Scenes):
    """Scenes with dense masks, for evaluation: 22 classes, no background, nothing to ignore.

    `compositions` as in `WorldCaptions`.
    """

    def __init__(
        self,
        *,
        world: str = "world",
        split: str = "val",
        count: int = 200,
        image_size: int = 64,
        seed: int = 0,
        compositions: Compositions = "any",
    ) -> None:
        super().__init__(
            world=world,
            split=split,
            count=count,
            image_size=image_size,
            seed=seed,
            compositions=compositions,
        )
        self.name = world
        self.classes = world_classes(self.world)

    def __getitem__(self, index: int) -> LabelledSample:
        index = self._position(index)
        scene, _ = self._draw(index)
        owner = owners(scene, size=self.image_size)
        return LabelledSample(
            key=self._key(index),
            image=torch.from_numpy(paint(scene, owner)),
            labels=torch.from_numpy(labels(scene, owner)).long(),
        )
