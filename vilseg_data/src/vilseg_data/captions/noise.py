"""A share of the captions moved to other images, to see what wrong captions cost."""

import numpy as np
from torch import Tensor

from vilseg_data.captions.mix import ChangedSource
from vilseg_data.captions.sample import CaptionSample, CaptionSource
from vilseg_data.reading import Progress, WholeSource
from vilseg_data.seeding import generator_for


class WrongCaptions(ChangedSource):
    """`source` with the captions of a share of its images changed round among them.

    The images are drawn from `seed`: round(share * n) of n, and where there are two or more each
    has the captions of another. `moved` holds their indices.

    Raises:
        ValueError: `share` is no share, or `seed` is negative.
    """

    def __init__(self, source: CaptionSource, *, share: float, seed: int = 0) -> None:
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share: expected a number in [0, 1], came {share}; 0.1 is one in 10")
        if seed < 0:
            raise ValueError(f"seed: expected at least 0, came {seed}; use 0 or more")
        super().__init__(source)
        count = round(share * len(source))
        moved = generator_for(seed, len(source)).permutation(len(source))[:count]
        # Each takes the captions of the next in a round, so that none keeps its own.
        givers = np.roll(moved, -1).tolist()
        self._giver: dict[int, int] = dict(zip(moved.tolist(), givers, strict=True))

    @property
    def moved(self) -> list[int]:
        return sorted(self._giver)

    def __len__(self) -> int:
        return len(self._source)

    def captions(self, index: int) -> tuple[str, ...]:
        place = range(len(self))[index]
        return self._source.captions(self._giver.get(place, place))

    def __getitem__(self, index: int) -> CaptionSample:
        sample = self._source[index]
        return CaptionSample(sample.key, sample.image, self.captions(index))


class _WholeWrongCaptions(WrongCaptions):
    """The same of a source that makes all its images at once."""

    def __init__(self, source: CaptionSource, whole: WholeSource, *, share: float, seed: int):
        super().__init__(source, share=share, seed=seed)
        self._whole = whole

    @property
    def image_size(self) -> int:
        return self._whole.image_size

    def images(self, progress: Progress | None = None) -> Tensor:
        return self._whole.images(progress)

    def keys(self) -> list[str]:
        return self._whole.keys()


def with_wrong_captions(source: CaptionSource, *, share: float, seed: int = 0) -> WrongCaptions:
    """`WrongCaptions` of `source`, a `WholeSource` where `source` is one."""
    if isinstance(source, WholeSource):
        return _WholeWrongCaptions(source, source, share=share, seed=seed)
    return WrongCaptions(source, share=share, seed=seed)
