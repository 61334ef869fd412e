"""Which captions to train on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from vilseg_data.batch import Share
from vilseg_data.captions.archive import ArchiveCaptions
from vilseg_data.captions.mix import EveryCaption, MixedCaptions, NamedPersons
from vilseg_data.captions.noise import with_wrong_captions
from vilseg_data.captions.sample import CaptionSource
from vilseg_data.captions.shards import ShardCaptions
from vilseg_data.captions.stream import ShardStream
from vilseg_data.captions.stream_head import StreamHead
from vilseg_data.captions.tables import TableCaptions
from vilseg_data.loader import CaptionLoader
from vilseg_data.stream_loader import StreamLoader
from vilseg_data.world.dataset import MIN_SIZE, WorldCaptions
from vilseg_data.world.scene import Compositions


class CaptionsConfig(BaseModel):
    """A source of captions, by name.

    kind "world": `count` scenes of `world` drawn from `seed`, `validation_count` in the validation
    split, `captions_per_image` captions each; `compositions` "seen" keeps the held-out pairs of
    thing and texture for evaluation. "archive": `root` holds zips and `<split>.captions.json`.
    "table": `table` is a CSV, TSV, JSON-lines or Parquet file and `root` its folder of images (by
    default the table's own). "shards": `shards` names tars, such as "DIR/{00000..00009}.tar"; with
    `stream` they are read forwards in blocks of `shuffle` shuffled samples, for sets that are too
    large to list or lie behind URLs, and the tokenizer learns from the first `head` samples. "mix":
    `sources`, each shown `weights` times an epoch, as is each entry of a list of streamed `shards`.

    `captions` "random" shows each image once an epoch with one of its captions, "all" once with
    each. `person` is a word in place of CC12M's `<PERSON>`. `wrong_captions` is a share of the
    images of `split` that are given one another's captions, drawn from `seed`. `max_broken` is the
    share of unreadable samples that is put up with. `cache` decodes every image once and keeps it
    in memory; without it each batch is decoded when its turn comes, for sets that do not fit.
    Without `drop_last` the last batch of an epoch holds what is left.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["world", "archive", "table", "shards", "mix"] = "world"
    root: Path | None = None
    table: Path | None = None
    shards: str | tuple[str, ...] | None = None
    stream: bool = False
    shuffle: int = Field(default=1000, ge=0)
    head: int = Field(default=10000, ge=1)
    sources: tuple["CaptionsConfig", ...] = ()
    weights: tuple[int, ...] = ()
    captions: Literal["random", "all"] = "random"
    person: str | None = Field(default=None, min_length=1)
    image_column: str = "image"
    caption_column: str = "caption"
    split: str = Field(default="train", min_length=1)
    validation_split: str | None = None
    image_size: int = Field(default=64, ge=MIN_SIZE)
    count: int = Field(default=20000, ge=1)
    validation_count: int = Field(default=500, ge=1)
    captions_per_image: int = Field(default=1, ge=1)
    world: Literal["world", "world2"] = "world"
    compositions: Compositions = "any"
    seed: int = Field(default=0, ge=0)
    wrong_captions: float = Field(default=0.0, ge=0.0, le=1.0)
    max_broken: float = Field(default=0.01, ge=0.0, le=1.0)
    cache: bool = True
    drop_last: bool = True

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        if self.kind == "world" and (self.root is not None or self.table is not None):
            raise ValueError(
                "root, table: expected none for kind 'world', came one; leave it out, or set "
                "kind to 'archive' or 'table'"
            )
        if self.kind == "archive" and self.root is None:
            raise ValueError(
                "root: expected a folder for kind 'archive', came none; set root to the folder "
                f"that holds {self.split}.captions.json and its zips"
            )
        if self.kind == "archive" and self.table is not None:
            raise ValueError(
                "table: expected none for kind 'archive', came one; set kind to 'table'"
            )
        if self.kind == "table" and self.table is None:
            raise ValueError(
                "table: expected a file for kind 'table', came none; set table to the CSV or JSONL"
            )
        if self.kind == "table" and self.validation_split is not None:
            raise ValueError(
                "validation_split: expected none for kind 'table', which has no splits, came "
                f"{self.validation_split!r}; leave it empty (data.validation_split=)"
            )
        if self.validation_split == self.split:
            raise ValueError(
                f"validation_split: expected another split than split, came {self.split!r} for "
                "both; scores on what was trained on say nothing"
            )
        return self

    @model_validator(mode="after")
    def _fits_shards(self) -> Self:
        if (self.kind == "shards") != (self.shards is not None):
            raise ValueError(
                "shards: expected tars for kind 'shards' and none for any other, came "
                f"{self.shards or 'none'} for {self.kind!r}; set kind to 'shards' and shards to "
                "the tars, such as DIR/{00000..00009}.tar"
            )
        if self.stream and self.kind != "shards":
            raise ValueError(
                f"stream: expected false for kind {self.kind!r}, came true; leave it out, or set "
                "kind to 'shards'"
            )
        if (self.kind == "mix") != bool(self.sources):
            raise ValueError(
                "sources: expected some for kind 'mix' and none for any other, came "
                f"{len(self.sources)} for {self.kind!r}; set kind to 'mix' and list the sources"
            )
        if self.kind in ("shards", "mix") and self.validation_split is not None:
            raise ValueError(
                f"validation_split: expected none for kind {self.kind!r}, which has no splits, "
                f"came {self.validation_split!r}; leave it empty (data.validation_split=)"
            )
        weighed = self.shards if self.stream else self.sources
        count = len(weighed) if isinstance(weighed, tuple) else 1
        if self.weights and len(self.weights) != count:
            raise ValueError(
                f"weights: expected one for each of sources, or of shards with stream, came "
                f"{len(self.weights)} for {count}; name as many"
            )
        if self.stream and self.wrong_captions > 0:
            raise ValueError(
                f"wrong_captions: expected 0 with stream, came {self.wrong_captions}; a stream has "
                "no list to move captions in"
            )
        if any(source.stream or source.kind == "mix" for source in self.sources):
            raise ValueError(
                "sources: expected listed ones, came a stream or another mix; set stream to "
                "false and name all sources at one level"
            )
        return self


def build_captions(config: CaptionsConfig, *, split: str | None = None) -> CaptionSource:
    """The source that `config` names; `split` takes the place of `config.split`.

    With `config.stream` it is the head of the stream, which `build_loader` follows.
    """
    if config.stream:
        assert config.shards is not None
        return StreamHead(
            config.shards,
            count=config.head,
            image_size=config.image_size,
            caption_key=config.caption_column,
            person=config.person,
        )
    source = _build(config, chosen=config.split if split is None else split)
    if config.wrong_captions > 0 and split in (None, config.split):
        source = with_wrong_captions(source, share=config.wrong_captions, seed=config.seed)
    if config.person is not None:
        source = NamedPersons(source, by=config.person)
    return EveryCaption(source) if config.captions == "all" else source


def build_loader(
    config: CaptionsConfig,
    source: CaptionSource,
    *,
    tokenizer: Callable[[Sequence[str]], Tensor],
    batch_size: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    share: Share | None = None,
) -> CaptionLoader | StreamLoader:
    """Batches from `source`, as `build_captions` made it or any other.

    Of `world_size` ranks the loader of each gives its part of every batch of batch_size: its rows
    of one order, or of a stream what its share of the shards holds. share: gathers a list over
    the ranks, for what they must tell one another.
    """
    if isinstance(source, StreamHead):
        assert config.shards is not None
        stream = ShardStream(
            config.shards,
            seed=seed,
            weights=config.weights or None,
            shuffle=config.shuffle,
            captions=config.captions,
            rank=rank,
            world_size=world_size,
            caption_key=config.caption_column,
        )
        if batch_size % world_size:
            raise ValueError(
                f"batch_size: expected a multiple of the {world_size} ranks that read the stream, "
                f"came {batch_size}; take {max(1, batch_size // world_size) * world_size}"
            )
        return StreamLoader(
            stream,
            tokenizer,
            batch_size=batch_size // world_size,
            image_size=config.image_size,
            drop_last=config.drop_last,
            max_broken=config.max_broken,
            person=config.person,
            share=share,
        )
    return CaptionLoader(
        source,
        tokenizer,
        batch_size=batch_size,
        image_size=config.image_size,
        seed=seed,
        cache=config.cache,
        drop_last=config.drop_last,
        max_broken=config.max_broken,
        rank=rank,
        world_size=world_size,
        share=share,
    )


def _build(config: CaptionsConfig, *, chosen: str) -> CaptionSource:
    if config.kind == "world":
        held_out = chosen == config.validation_split
        return WorldCaptions(
            world=config.world,
            split=chosen,
            count=config.validation_count if held_out else config.count,
            image_size=config.image_size,
            seed=config.seed,
            captions_per_image=config.captions_per_image,
            compositions=config.compositions,
        )
    if config.kind == "archive":
        assert config.root is not None
        return ArchiveCaptions(config.root, split=chosen, image_size=config.image_size)
    if config.kind == "mix":
        sources = [
            build_captions(source.model_copy(update={"image_size": config.image_size}))
            for source in config.sources
        ]
        return MixedCaptions(sources, weights=config.weights or None)
    if config.kind == "shards":
        assert config.shards is not None
        return ShardCaptions(
            config.shards, caption_key=config.caption_column, image_size=config.image_size
        )
    assert config.table is not None
    if chosen != config.split:
        raise ValueError(
            f"split: expected none for kind 'table', came {chosen!r}; build it without split"
        )
    return TableCaptions(
        config.table,
        images=config.root,
        image_column=config.image_column,
        caption_column=config.caption_column,
        image_size=config.image_size,
    )
