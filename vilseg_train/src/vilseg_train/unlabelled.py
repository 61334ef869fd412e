"""The images that self-training labels by itself."""

from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from vilseg_data import BrokenSampleError, WorldCaptions, decode_image
from vilseg_data.decode import IMAGE_SUFFIXES
from vilseg_data.world import WORLDS
from vilseg_train.config import ConfigError
from vilseg_train.progress import say, track
from vilseg_train.selftrain_config import SelfTrainConfig

_NAMED = 5


def load_unlabelled(options: SelfTrainConfig, *, image_size: int, console: Console) -> Tensor:
    """uint8 (m, 3, s, s): the scenes or every readable image of the folder, in name order.

    Raises:
        ValueError: there is no such folder, or no readable image in it.
    """
    if options.images in WORLDS:
        scenes = WorldCaptions(
            world=options.images,
            split="val" if options.transductive else "train",
            count=options.count,
            image_size=image_size,
        )
        return torch.stack([scenes[number].image for number in range(len(scenes))])
    folder = Path(options.images)
    if not folder.is_dir():
        raise ConfigError(
            f"--images: expected a folder or a built-in world, came {folder}; correct the path"
        )
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    images, broken = [], []
    with track("reading images", console=console) as progress:
        for number, path in enumerate(paths, start=1):
            try:
                images.append(decode_image(path, size=image_size))
            except BrokenSampleError as error:
                broken.append(error)
            progress(number, len(paths))
    for left_out in broken[:_NAMED]:
        say(console, f"left out {left_out}")
    if not images:
        raise ConfigError(
            f"--images: expected images of {', '.join(IMAGE_SUFFIXES)} in {folder}, came "
            f"{len(broken)} that cannot be read and none that can; give another folder"
        )
    return torch.stack(images)
