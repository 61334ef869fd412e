"""A folder of label maps made by anything, scored as if a segmenter gave them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vilseg_data import ClassList
from vilseg_eval.confusion import IGNORE, OUTSIDE, LabelError
from vilseg_eval.prompts import clean_words
from vilseg_eval.protocols import ClassSets
from vilseg_eval.segmenters.base import LabelSegmentation

_SUFFIXES = (".png", ".npy")
_INDEX_MODES = ("P", "L", "I", "I;16")


class PredictionFolder:
    """`<image id>.png` (palette or grey) or `<image id>.npy` (integers), one for each image, of
    its size, in the data set's own ids. Background, where the data set has one, is a prediction
    outside the candidates.

    The answers read their file when labels are asked for and then raise `LabelError` if it is
    missing or unreadable, has another size than the image, or holds ids unknown to the data set.

    Args:
        root: the folder.
        classes: the data set's class list, which says what the ids mean.
    """

    name = "predictions"
    templates: tuple[str, ...] = ()

    def __init__(self, root: Path | str, *, classes: ClassList) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise ValueError(f"root: expected a folder of label maps, found none at {self.root}")
        if not any(file.suffix in _SUFFIXES for file in self.root.iterdir()):
            raise ValueError(
                f"root: expected <image id>.png or .npy files in {self.root}, found none"
            )
        sets = ClassSets.of(classes)
        self.words = clean_words([classes.prompts[i] for i in sets.foreground])
        self.num_classes = len(sets.names)
        # 255 is no class; it stays 255 and passes only where the ground truth is 255 as well.
        self._indices = torch.full((max(IGNORE, self.num_classes) + 1,), IGNORE)
        self._indices[list(sets.foreground)] = torch.arange(len(sets.foreground))
        if sets.background is not None:
            self._indices[sets.background] = OUTSIDE

    def segment(self, images: Sequence[Tensor], keys: Sequence[str], /) -> list[LabelSegmentation]:
        """One answer for each uint8 (3, h, w) image: word indices, `OUTSIDE`, or 255 as it is."""
        return [
            LabelSegmentation(
                partial(self._load, key, size=(image.shape[1], image.shape[2])), len(self.words)
            )
            for image, key in zip(images, keys, strict=True)
        ]

    def _load(self, key: str, *, size: tuple[int, int]) -> Tensor:
        values = _read(self._find(key))
        if values.shape != size:
            raise LabelError(
                f"the label map is {_sides(values.shape)} (width x height), "
                f"its image is {_sides(size)}"
            )
        ids = np.unique(values)
        wrong = ids[((ids < 0) | (ids >= self.num_classes)) & (ids != IGNORE)]
        if wrong.size:
            raise LabelError(
                f"ids {wrong[:8].tolist()} are not the data set's (0 to {self.num_classes - 1})"
            )
        return self._indices[torch.from_numpy(values.astype(np.int64))]

    def _find(self, key: str) -> Path:
        for suffix in _SUFFIXES:
            path = self.root / f"{key}{suffix}"
            if path.is_file():
                return path
        raise LabelError(f"no {key}.png or {key}.npy in {self.root}")


def _read(path: Path) -> NDArray[np.integer]:
    values: NDArray[np.integer]
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            with Image.open(path) as image:
                mode, values = image.mode, np.asarray(image)
            if mode not in _INDEX_MODES:
                raise LabelError(
                    f"{path.name} holds colours (mode {mode}), expected class ids; "
                    "save a palette or grey PNG"
                )
    except LabelError:
        raise
    except (OSError, EOFError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise LabelError(f"{path.name} cannot be read: {error}") from error
    if not np.issubdtype(values.dtype, np.integer):
        raise LabelError(f"{path.name} holds {values.dtype}, expected integer class ids")
    return values


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in reversed(shape))
