"""The offline baseline of the paper's Table 2: K-means on the pixel features of one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vilseg_core.models import ViLSeg
from vilseg_data import Tokenizer
from vilseg_eval.features import Encoded
from vilseg_eval.framing import InferenceConfig
from vilseg_eval.prompts import PHOTO_TEMPLATE, Combine, Vocabulary
from vilseg_eval.segmenters.regions import RegionSegmenter


class KMeansSegmenter(RegionSegmenter):
    """K-means groups the tokens of each image anew, by their unit features; regions are named as
    ViL-Seg's are. What stands for a cluster's logit is the negative squared distance to its centre.

    The same image gives the same regions: K-means starts from `seed` and runs on one thread, the
    sums of which have one order. An image with fewer different tokens than `clusters` has as many
    regions as those.

    Args:
        clusters: k of K-means; the clusters of the model's own head where left out.
        seed: of the first centres (k-means++).
        restarts: how many times to begin; the tightest result counts.

    The others as in `ModelSegmenter`; `average` has no meaning here and stays at its default.
    """

    name = "kmeans"
    _wants_logits = False

    def __init__(
        self,
        model: ViLSeg,
        tokenizer: Tokenizer,
        words: Sequence[str],
        *,
        templates: Sequence[str] = (PHOTO_TEMPLATE,),
        synonyms: Mapping[str, Sequence[str]] | None = None,
        combine: Combine = "mean",
        inference: InferenceConfig | None = None,
        vocabulary: Vocabulary | None = None,
        clusters: int | None = None,
        seed: int = 0,
        restarts: int = 1,
    ) -> None:
        super().__init__(
            model,
            tokenizer,
            words,
            templates=templates,
            synonyms=synonyms,
            combine=combine,
            inference=inference,
            vocabulary=vocabulary,
        )
        self._clusters = model.config.cluster.clusters if clusters is None else clusters
        for argument, value, least in (
            ("clusters", self.clusters, 1),
            ("seed", seed, 0),
            ("restarts", restarts, 1),
        ):
            if value < least:
                raise ValueError(f"{argument}: expected at least {least}, came {value}; raise it")
        self.seed = seed
        self.restarts = restarts

    @property
    def clusters(self) -> int:
        return self._clusters

    @property
    def settings(self) -> dict[str, Any]:
        own = {"clusters": self.clusters, "seed": self.seed, "restarts": self.restarts}
        return {**super().settings, **own}

    def _cluster(self, encoded: Encoded) -> Tensor:
        features = normalize(encoded.pixels, dim=0)
        tokens = features.flatten(1).T
        centres = torch.from_numpy(self._centres(tokens.cpu().numpy())).to(tokens)
        return -torch.cdist(tokens, centres).square().T.reshape(-1, *features.shape[1:])

    def _centres(self, tokens: np.ndarray) -> np.ndarray:
        from sklearn.cluster import KMeans

        different = len(np.unique(tokens, axis=0))
        fit = KMeans(
            min(self.clusters, different), n_init=self.restarts, random_state=self.seed
        ).fit
        with _threads().limit(limits=1):
            centres: np.ndarray = fit(tokens).cluster_centers_
        return centres


@cache
def _threads() -> Any:
    """What limits the threads of scikit-learn; looking for its libraries takes milliseconds."""
    from sklearn.cluster import KMeans
    from threadpoolctl import ThreadpoolController

    assert KMeans is not None  # its libraries are loaded before they are looked for
    return ThreadpoolController()
