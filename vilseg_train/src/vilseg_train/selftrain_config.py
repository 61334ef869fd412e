"""Self-training as configuration: `[self_train]` of a run that was made of another."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SelfTrainConfig(BaseModel):
    """A model taught by its own confident predictions on images without labels.

    `images` is a folder, or "world" or "world2" for `count` scenes of a built-in world.
    `transductive` says that they are the very images to be scored later: of a world the split
    "val", else "train"; of a folder it is only recorded. `labels` of the first round are those of
    the clusters' regions, or of single tokens, as there would be without a clustering head. `share`
    of the tokens of each word, the most confident ones, are kept; as part of a region a token is as
    confident as the region. `encoder` "tuned" teaches the image encoder as well as the classifier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: str = Field("world", min_length=1)
    count: int = Field(6000, ge=1, description="scenes of a world")
    transductive: bool = False
    words: tuple[str, ...] = ()
    templates: tuple[str, ...] = ("a photo of a {}",)
    rounds: int = Field(1, ge=1, description="how often labels are made anew")
    labels: Literal["regions", "tokens"] = "regions"
    share: float = Field(0.4, gt=0, le=1, description="of each word's tokens, kept as labels")
    steps: int = Field(900, ge=1, description="of a round")
    batch_size: int = Field(32, ge=1)
    lr: float = Field(5e-4, gt=0)
    weight_decay: float = Field(0.04, ge=0)
    scale: float = Field(20.0, gt=0, description="factor on the cosines of the classifier")
    encoder: Literal["tuned", "frozen"] = "tuned"
    gain: float = Field(0.3, ge=0, le=0.99)
    bias: float = Field(0.1, ge=0, le=1)
    flip: float = Field(0.5, ge=0, le=1)
    log_every: int = Field(20, ge=1)
    checkpoint_every: int = Field(100, ge=1)
    seed: int = Field(0, ge=0)
