"""What the losses of a step may ask for, by name; each is computed once, when it is asked for.

Legend: n images of the batch, v local views, d embedding dimension, p prototypes, c clusters,
(H, W) the image, (h, w) the token grid, l the length of a caption.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vilseg_core.layers import ClusteringHead

# The outputs that a loss of one's own can take (`inputs` of an entry of `loss.extra`).
OUTPUTS: dict[str, str] = {
    "images": "(n, 3, H, W), the global views, floats in [0, 1]",
    "tokens": "(n, l) int64, one caption an image",
    "image": "(n, d), pooled features of the global views",
    "text": "(n, d), features of the captions",
    "pixels": "(n, d, h, w), pixel embeddings of the global views",
    "local_image": "(v, n, d), pooled features of the local views",
    "local_logits": "(v, n, p), prototypes of the local views",
    "global_logits": "(n, p), prototypes of the global views",
    "cluster_logits": "(n, c, h, w), the first clustering head on the global views",
    "changed_cluster_logits": "(n, c, h, w), the same on their changed copies, mapped back",
    "valid": "(n, 1, h, w) bool, where a changed copy still shows its image",
}

# Those that need local views, and those that need changed copies.
LOCAL_OUTPUTS = frozenset({"local_image", "local_logits"})
CHANGED_OUTPUTS = frozenset({"changed_cluster_logits", "valid"})

Undo = Callable[[Tensor], tuple[Tensor, Tensor]]


class StepOutputs(Mapping[str, Tensor]):
    """The outputs of one step, as attributes for those who know them and by name for the others.

    Args:
        features: what the encoders gave, by `Encoders.names`.
        images: (n, 3, H, W), the global views.
        tokens: (n, l) int64.
        clustering_head: that of the model.
        projection: the model's, to prototypes.
        undo: maps (n, d, h, w) of the changed copies back, and says where they are valid; None
            where there are no changed copies.
        head_only: whether cluster logits teach the clustering head alone.
    """

    def __init__(
        self,
        features: Mapping[str, Tensor],
        *,
        images: Tensor,
        tokens: Tensor,
        clustering_head: ClusteringHead,
        projection: nn.Module,
        undo: Undo | None,
        head_only: bool,
    ) -> None:
        self.images = images
        self.tokens = tokens
        self._features = features
        self._head = clustering_head
        self._projection = projection
        self._undo = undo
        self._head_only = head_only

    def __getitem__(self, name: str) -> Tensor:
        if name not in OUTPUTS:
            raise KeyError(name)
        output: Tensor = getattr(self, name)
        return output

    def __contains__(self, name: object) -> bool:
        return name in OUTPUTS

    def __iter__(self) -> Iterator[str]:
        return iter(OUTPUTS)

    def __len__(self) -> int:
        return len(OUTPUTS)

    @property
    def image(self) -> Tensor:
        """(n, d)."""
        return self._features["image"]

    @property
    def pixels(self) -> Tensor:
        """(n, d, h, w)."""
        return self._features["pixels"]

    @property
    def text(self) -> Tensor:
        """(n, d)."""
        return self._features["text"]

    @cached_property
    def local_image(self) -> Tensor:
        """(v, n, d)."""
        return self._features["local_image"].transpose(0, 1)

    @cached_property
    def local_logits(self) -> Tensor:
        """(v, n, p)."""
        local = self.local_image
        return torch.unflatten(self._prototypes(local.flatten(0, 1)), 0, local.shape[:2])

    @cached_property
    def global_logits(self) -> Tensor:
        """(n, p)."""
        return self._prototypes(self.image)

    @property
    def cluster_logits(self) -> Tensor:
        """(n, c, h, w)."""
        return self.heads[0]

    @property
    def changed_cluster_logits(self) -> Tensor:
        """(n, c, h, w)."""
        return self.changed_heads[0]

    @property
    def valid(self) -> Tensor:
        """(n, 1, h, w) bool."""
        return self._changed[1]

    @cached_property
    def heads(self) -> Tensor:
        """(heads, n, c, h, w), every clustering head on the global views."""
        pixels = self.pixels.detach() if self._head_only else self.pixels
        return self._head.forward_all(pixels)

    @cached_property
    def changed_heads(self) -> Tensor:
        """(heads, n, c, h, w), the same on the changed copies, mapped back."""
        return self._head.forward_all(self._changed[0])

    @cached_property
    def _changed(self) -> tuple[Tensor, Tensor]:
        """Pixel features of the changed copies, mapped back, and where they are valid (Eq. 5)."""
        assert self._undo is not None
        changed = self._features["changed"]
        return self._undo(changed.detach() if self._head_only else changed)

    def _prototypes(self, features: Tensor) -> Tensor:
        # Unit features: the temperatures are made for cosines, larger logits give targets of one
        # prototype alone.
        logits: Tensor = self._projection(F.normalize(features, dim=1))
        return logits
