"""ViL-Seg: encoders, clustering head and prototypes, wired together.

b = images, n = texts, d = embedding dimension, c = clusters, r = regions, k = prototypes.
"""

from torch import Tensor, nn

from vilseg_core.distributed import ProcessGroup
from vilseg_core.layers import ClusteringHead, Pooling, build_pooling
from vilseg_core.models.config import ModelConfig
from vilseg_core.models.image import ImageEncoder, ImageFeatures
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
    head = config.cluster
    return ViLSeg(
        config,
        image_encoder=ImageEncoder(config.image, embed_dim=config.embed_dim),
        text_encoder=TextEncoder(config.text, embed_dim=config.embed_dim),
        clustering_head=ClusteringHead(
            config.embed_dim,
            head.clusters,
            layers=head.layers,
            hidden_dim=head.hidden_dim,
            heads=head.heads,
            normalize=head.normalize,
            group=group,
        ),
        projection=nn.Linear(config.embed_dim, config.prototypes, bias=False),
    )
