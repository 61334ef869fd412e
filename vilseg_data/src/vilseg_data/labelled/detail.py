"""The masks of the Detail API's `trainval_merged.json`: regions of PASCAL Context as run lengths.

Read of it: `images` (`image_id`, `file_name`, `phase`, `height`, `width`) and `annos_segmentation`
(`image_id`, `category_id` of the 459, `segmentation` of `size` and `counts`). Where regions overlap
the later one wins, as in the API.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vilseg_data.captions.sample import BrokenSampleError
from vilseg_data.labelled.masks import Values
from vilseg_data.labelled.rle import decode_rle


@dataclass
class _Image:
    height: int
    width: int
    phase: str
    regions: list[tuple[int, dict[str, Any]]] = field(default_factory=list)


class DetailMasks:
    """The masks of the file at `path`: read as a whole, decoded one by one.

    Memory for the whole text is needed once, as in the API; what is kept of it are the runs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            content = json.loads(path.read_bytes())
            by_number = {image["image_id"]: _image(image) for image in content["images"]}
            for region in content["annos_segmentation"]:
                _, image = by_number[region["image_id"]]
                image.regions.append((int(region["category_id"]), region["segmentation"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: expected the Detail API's images and annos_segmentation, came "
                f"{type(error).__name__}: {error}; use trainval_merged.json as distributed"
            ) from error
        self._images = dict(by_number.values())

    def keys(self) -> set[str]:
        return set(self._images)

    def phases(self) -> dict[str, list[str]]:
        """The ids of each phase, sorted."""
        found: dict[str, list[str]] = {}
        for key in sorted(self._images):
            found.setdefault(self._images[key].phase, []).append(key)
        return found

    def where(self, key: str) -> str:
        return f"{self._path}: {key}"

    def read(self, key: str) -> Values:
        image = self._images[key]
        values = np.zeros((image.height, image.width), dtype=np.int64)
        for category, segmentation in image.regions:
            try:
                height, width = segmentation["size"]
                if (height, width) != values.shape:
                    raise ValueError(
                        f"size is {height} x {width}, its image's {image.height} x {image.width}"
                    )
                inside = decode_rle(segmentation["counts"], height=height, width=width)
            except (ValueError, KeyError, TypeError) as error:
                raise BrokenSampleError(self.where(key), f"unreadable region: {error}") from error
            values[inside] = category
        return values


def _image(entry: dict[str, Any]) -> tuple[str, _Image]:
    key = Path(entry["file_name"]).stem
    return key, _Image(int(entry["height"]), int(entry["width"]), entry["phase"])
