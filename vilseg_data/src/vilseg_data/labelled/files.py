"""Photos and masks in files: what every labelled set on disk has in common."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vilseg_data.captions.sample import BrokenSampleError
from vilseg_data.decode import decode_image
from vilseg_data.labelled.classes import ClassList, LabelledSample
from vilseg_data.labelled.masks import Masks, relabel


class LabelledFiles:
    """Photos with masks, in the order of their ids; decoded only when a sample is asked for.

    A missing photo or mask is refused at once; an unreadable one, a mask of another size than its
    photo and an unknown id in it when the sample is asked for, as `BrokenSampleError`.

    Attributes:
        name, classes, split: which set this is.
        form: the way it is distributed in this folder.
        notes: what the user should know of the list of images, one sentence each.
    """

    def __init__(
        self,
        *,
        name: str,
        classes: ClassList,
        split: str,
        form: str,
        ids: Sequence[str],
        photos: Mapping[str, str],
        masks: Masks,
        photo_folder: Path,
        table: npt.NDArray[np.int64],
        notes: tuple[str, ...] = (),
        count: int | None = None,
    ) -> None:
        """`photos` are names in `photo_folder` by id, `table` is that of `masks.relabel`.

        `count` takes the first ids alone.

        Raises:
            ValueError: a photo or a mask of `ids` is missing, or `count` is below 1.
        """
        if count is not None and count < 1:
            raise ValueError(f"count: expected at least 1, came {count}; leave it out for all")
        self.name, self.classes, self.split, self.form = name, classes, split, form
        self.notes = notes
        self._ids = sorted(ids)
        self._photos, self._folder, self._masks, self._table = photos, photo_folder, masks, table
        _check_files(self._ids, split=split, photos=photos, folder=photo_folder, masks=masks)
        self._ids = self._ids[:count]

    def __len__(self) -> int:
        return len(self._ids)

    def keys(self) -> list[str]:
        """The id of every image."""
        return list(self._ids)

    def __getitem__(self, index: int) -> LabelledSample:
        key = self._ids[index]
        where = self._masks.where(key)
        image = decode_image(self._folder / self._photos[key])
        labels = relabel(self._masks.read(key), self._table, where=where)
        if image.shape[1:] != labels.shape:
            raise BrokenSampleError(
                where,
                f"{labels.shape[1]} x {labels.shape[0]} pixels, its image has {image.shape[2]} x "
                f"{image.shape[1]}: use the mask of the same image at the same size",
            )
        return LabelledSample(key, image, labels)


def _check_files(
    ids: Sequence[str], *, split: str, photos: Mapping[str, str], folder: Path, masks: Masks
) -> None:
    # One listing a folder: asking for every file of COCO's 118,000 alone takes far longer.
    masked = masks.keys()
    missing = []
    for key in ids:
        if key not in photos:
            missing.append(str(folder / f"{key}.jpg"))
        if key not in masked:
            missing.append(masks.where(key))
    if missing:
        raise ValueError(
            f"{split}: expected an image and a mask for each of {len(ids)} ids, "
            f"came {len(missing)} missing: {', '.join(missing[:5])}"
            f"{', ...' if len(missing) > 5 else ''}; add the files or choose another split"
        )
