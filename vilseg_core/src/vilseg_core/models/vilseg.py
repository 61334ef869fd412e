"""ViL-Seg: encoders, clustering head and prototypes, wired together.

b = images, n = texts, d = embedding dimension, c = clusters, r = regions, k = prototypes.
"""

from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from vilseg_core.distributed import ProcessGroup
from vilseg_core.layers import ClusteringHead, Pooling, build_pooling
from vilseg_core.models.config import ImageEncoderConfig, ModelConfig, TextEncoderConfig
from vilseg_core.models.image import ImageEncoder, ImageFeatures
from vilseg_core.models.own import is_own, own_image_encoder, own_text_encoder
from vilseg_core.models.run_folder import read_run
from vilseg_core.models.text import TextEncoder


class ViLSeg(nn.Module):
    """The model of the paper, assembled from its parts; losses and the temperature are outside.

    Attributes:
        image_encoder: images to pixel features and a global feature.
        text_encoder: tokens to embeddings.
        clustering_head: pixel features to cluster logits.
        projection: global features to prototype logits, for the local-to-global loss.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        clustering_head: ClusteringHead,
        projection: nn.Linear,
    ) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.clustering_head = clustering_head
        self.projection = projection
        self._plain_pooling = (
            None
            if config.region_pooling == "attention"
            else build_pooling(
                config.region_pooling, dim=config.embed_dim, sharpness=config.image.sharpness
            )
        )

    @classmethod
    def from_run(cls, path: Path | str) -> Self:
        """The trained model of a run in evaluation mode, from its newest checkpoint.

            model = ViLSeg.from_run("runs/world")

        Checksums are not compared here; `vilseg_train.open_run` does that, passes over a damaged
        checkpoint and brings the tokenizer as well, which is also in the run's `tokenizer.json`.

        Args:
            path: the folder of a run, or one of its checkpoints.

        Raises:
            ValueError: there is no checkpoint, or it is damaged or something else.
        """
        config, weights = read_run(path)
        model = cls(config, **_parts(config.without_sources()))
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(
                f"path: expected the weights of the model that {path} describes, came others: "
                f"{error}; use the version of vilseg that trained it"
            ) from error
        return model.eval()

    @property
    def region_pooling(self) -> Pooling:
        """How a region becomes a feature; attention is the very module of the global feature."""
        pooling = self._plain_pooling or self.image_encoder.pooling
        assert pooling is not None
        return pooling

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[ImageFeatures, Tensor]:
        """Images (b, 3, H, W) and tokens (n, l) -> image features and text embeddings (n, d)."""
        return self.encode_image(images), self.encode_text(tokens)

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """(b, 3, H, W), floats in [0, 1] -> pixels (b, d, h, w) and pooled (b, d)."""
        features: ImageFeatures = self.image_encoder(images)
        return features

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(n, l) int64 -> (n, d)."""
        embeddings: Tensor = self.text_encoder(tokens)
        return embeddings

    def cluster(self, pixels: Tensor) -> Tensor:
        """(b, d, h, w) -> cluster logits (b, c, h, w)."""
        logits: Tensor = self.clustering_head(pixels)
        return logits

    def pool_regions(self, pixels: Tensor, masks: Tensor) -> Tensor:
        """Pixels (b, d, h, w) and masks (b, r, h, w) -> (b, r, d); an empty region gives zeros."""
        pooled: Tensor = self.region_pooling(pixels, masks)
        return pooled


def build_model(config: ModelConfig, *, group: ProcessGroup | None = None) -> ViLSeg:
    """The model that `config` describes, with fresh weights unless it names a source of others.

    group: processes whose batches are joined where the clustering head normalises over the batch;
    None means this process alone.

    Raises:
        ValueError: timm cannot build the image encoder, or a checkpoint does not fit.
        ImportError: timm is not installed.
    """
    return ViLSeg(config, **_parts(config, group=group))


def _parts(config: ModelConfig, *, group: ProcessGroup | None = None) -> dict[str, Any]:
    head = config.cluster
    return {
        "image_encoder": _image_encoder(config.image, embed_dim=config.embed_dim),
        "text_encoder": _text_encoder(config.text, embed_dim=config.embed_dim),
        "clustering_head": ClusteringHead(
            config.embed_dim,
            head.clusters,
            layers=head.layers,
            hidden_dim=head.hidden_dim,
            heads=head.heads,
            normalize=head.normalize,
            group=group,
        ),
        "projection": nn.Linear(config.embed_dim, config.prototypes, bias=False),
    }


def _image_encoder(config: ImageEncoderConfig, *, embed_dim: int) -> nn.Module:
    make = own_image_encoder if is_own(config.name) else ImageEncoder
    return make(config, embed_dim=embed_dim)


def _text_encoder(config: TextEncoderConfig, *, embed_dim: int) -> nn.Module:
    make = own_text_encoder if is_own(config.name) else TextEncoder
    return make(config, embed_dim=embed_dim)
