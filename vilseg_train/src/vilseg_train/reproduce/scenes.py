"""Training scenes drawn once for all runs of a study."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vilseg_data import WorldCaptions
from vilseg_data.captions.config import CaptionsConfig

_CAPTIONS = "captions.json"
_IMAGES = "images.npy"


class KeptScenes(WorldCaptions):
    """The training scenes of a configuration, kept in a folder from the first run on.

    Drawing those of `world` takes as long as an eighth of its run.

    Args:
        config: of data.kind "world".
        folder: where they are kept, each kind of scenes in a folder of its own.
    """

    def __init__(self, config: CaptionsConfig, *, folder: Path) -> None:
        drawn: dict[str, Any] = {
            "world": config.world,
            "split": config.split,
            "count": config.count,
            "image_size": config.image_size,
            "seed": config.seed,
            "captions_per_image": config.captions_per_image,
            "compositions": config.compositions,
        }
        super().__init__(**drawn)
        self._folder = folder / "-".join(map(str, drawn.values()))
        if self._folder.is_dir():
            spoken = json.loads((self._folder / _CAPTIONS).read_text("utf-8"))
            self._captions = [tuple(captions) for captions in spoken]

    def images(self, progress: Callable[[int, int], None] | None = None) -> Tensor:
        """As `WorldCaptions.images`; from the file where there is one."""
        if self._folder.is_dir():
            return torch.from_numpy(np.load(self._folder / _IMAGES))
        images = super().images(progress)
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder.parent) as making:
            made = Path(making) / "scenes"
            made.mkdir()
            np.save(made / _IMAGES, images.numpy())
            (made / _CAPTIONS).write_text(json.dumps(self._captions), "utf-8")
            try:
                made.rename(self._folder)
            except OSError:
                # Another run of the study was faster: its scenes are the same.
                if not self._folder.is_dir():
                    raise
        return images
