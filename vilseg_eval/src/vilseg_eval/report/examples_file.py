"""Examples kept beside results, so that a later report draws them without model and data.

One `.npz` without pickle: a JSON header, photos as JPEG, label maps as PNG of 16 bits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vilseg_eval.report.examples import Example

EXAMPLES_FILE = "examples.npz"

# A grey PNG has no negative values; what is untinted is stored as 0, word i as i + 1.
_SHIFT = 1


def examples_bytes(examples: Sequence[Example]) -> bytes:
    """The file of these examples; the same bytes for the same examples."""
    header = [
        {"key": e.key, "place": e.place, "scores": dict(e.scores), "maps": list(e.maps)}
        for e in examples
    ]
    arrays: dict[str, NDArray[np.uint8]] = {}
    for number, example in enumerate(examples):
        photo = Image.fromarray(example.image.permute(1, 2, 0).contiguous().numpy())
        arrays[f"photo_{number}"] = _encoded(photo, "JPEG")
        for column, labels in enumerate(example.maps.values()):
            ids = np.maximum(labels.numpy() + _SHIFT, 0).astype(np.uint16)
            arrays[f"map_{number}_{column}"] = _encoded(Image.fromarray(ids), "PNG")
    file = BytesIO()
    np.savez(file, allow_pickle=False, header=np.array(json.dumps(header)), **arrays)
    return file.getvalue()


def load_examples(folder: Path | str) -> list[Example]:
    """What was saved in the folder of an evaluation; nothing where it holds no examples.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(folder) / EXAMPLES_FILE
    if not path.is_file():
        return []
    try:
        return read_examples(path.read_bytes())
    except (BadZipFile, KeyError, TypeError, ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"folder: expected examples in {path}, came a damaged file ({error}); evaluate again"
        ) from error


def read_examples(content: bytes) -> list[Example]:
    """What `examples_bytes` made: the label maps exactly, the photos as JPEG keeps them."""
    with np.load(BytesIO(content), allow_pickle=False) as archive:
        return [
            Example(
                key=entry["key"],
                image=_decoded(archive[f"photo_{number}"]).permute(2, 0, 1).to(torch.uint8),
                maps={
                    title: _decoded(archive[f"map_{number}_{column}"]) - _SHIFT
                    for column, title in enumerate(entry["maps"])
                },
                place=entry["place"],
                scores=entry["scores"],
            )
            for number, entry in enumerate(json.loads(archive["header"].item()))
        ]


def _encoded(picture: Image.Image, kind: str) -> NDArray[np.uint8]:
    file = BytesIO()
    options = {"quality": 88} if kind == "JPEG" else {"optimize": True}
    picture.save(file, format=kind, **options)
    return np.frombuffer(file.getvalue(), dtype=np.uint8)


def _decoded(content: NDArray[np.uint8]) -> torch.Tensor:
    with Image.open(BytesIO(content.tobytes())) as picture:
        return torch.from_numpy(np.array(picture).astype(np.int64))
