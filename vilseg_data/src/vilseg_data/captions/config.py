"""Which captions to train on."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vilseg_data.captions.archive import ArchiveCaptions
from vilseg_data.captions.sample import CaptionSource
from vilseg_data.captions.tables import TableCaptions
from vilseg_data.world.dataset import MIN_SIZE, WorldCaptions


class CaptionsConfig(BaseModel):
    """A source of captions, by name.

    kind "world": `count` scenes drawn from `seed`, `validation_count` in the validation split,
    `captions_per_image` captions each. "archive": `root` holds zips and `<split>.captions.json`.
    "table": `table` is a CSV, TSV or JSON-lines file and `root` its folder of images (by default
    the table's own). `max_broken` is the share of unreadable samples that is put up with. `cache`
    decodes every image once and keeps it in memory; without it each batch is decoded when its turn
    comes, for sets that do not fit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["world", "archive", "table"] = "world"
    root: Path | None = None
    table: Path | None = None
    image_column: str = "image"
    caption_column: str = "caption"
    split: str = Field(default="train", min_length=1)
    validation_split: str | None = None
    image_size: int = Field(default=64, ge=MIN_SIZE)
    count: int = Field(default=20000, ge=1)
    validation_count: int = Field(default=500, ge=1)
    captions_per_image: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    max_broken: float = Field(default=0.01, ge=0.0, le=1.0)
    cache: bool = True

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        if self.kind == "world" and (self.root is not None or self.table is not None):
            raise ValueError(
                "kind 'world' reads no files, got root or table; leave them out, or set kind to "
                "'archive' or 'table'"
            )
        if self.kind == "archive" and self.root is None:
            raise ValueError(
                "kind 'archive' needs root, got none; set root to the folder that holds "
                f"{self.split}.captions.json and its zips"
            )
        if self.kind == "archive" and self.table is not None:
            raise ValueError("kind 'archive' reads no table, got one; set kind to 'table'")
        if self.kind == "table" and self.table is None:
            raise ValueError("kind 'table' needs table, got none; set table to the CSV or JSONL")
        if self.kind == "table" and self.validation_split is not None:
            raise ValueError(
                f"a table has no splits, got validation_split {self.validation_split!r}; leave it "
                "out, or evaluate on a second table"
            )
        if self.validation_split == self.split:
            raise ValueError(
                f"validation_split must differ from split, got {self.split!r} for both; "
                "scores on what was trained on say nothing"
            )
        return self


def build_captions(config: CaptionsConfig, *, split: str | None = None) -> CaptionSource:
    """The source that `config` names; `split` takes the place of `config.split`."""
    chosen = config.split if split is None else split
    if config.kind == "world":
        held_out = chosen == config.validation_split
        return WorldCaptions(
            split=chosen,
            count=config.validation_count if held_out else config.count,
            image_size=config.image_size,
            seed=config.seed,
            captions_per_image=config.captions_per_image,
        )
    if config.kind == "archive":
        assert config.root is not None
        return ArchiveCaptions(config.root, split=chosen, image_size=config.image_size)
    assert config.table is not None
    if chosen != config.split:
        raise ValueError(f"a table has no splits, got {chosen!r}; build it without split")
    return TableCaptions(
        config.table,
        images=config.root,
        image_column=config.image_column,
        caption_column=config.caption_column,
        image_size=config.image_size,
    )
