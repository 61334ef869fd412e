"""Which tokenizer a run uses, as configuration."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vilseg_data import clip_vocabulary
from vilseg_data.tokenizer import LEAST_VOCAB_SIZE, Tokenizer


class TokenizerConfig(BaseModel):
    """Which tokenizer a run uses.

    kind "trained": learnt from the run's captions with `vocab_size` and `context_length`, or,
    with `path`, a saved tokenizer or a `tokenizer.json`. kind "clip": CLIP's vocabulary file at
    `path`; sizes default to CLIP's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["trained", "clip"] = "trained"
    vocab_size: int = Field(default=4096, ge=LEAST_VOCAB_SIZE)
    context_length: int = Field(default=32, ge=3)
    path: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _sizes_of_clip(cls, values: object) -> object:
        if isinstance(values, dict) and values.get("kind") == "clip":
            return {"vocab_size": clip_vocabulary.SIZE, "context_length": 77} | values
        return values

    @model_validator(mode="after")
    def _clip_is_whole(self) -> Self:
        if self.kind == "clip" and self.path is None:
            raise ValueError(
                "path: expected CLIP's bpe_simple_vocab_16e6.txt.gz for kind 'clip', came none; "
                "set path to it"
            )
        if self.kind == "clip" and self.vocab_size != clip_vocabulary.SIZE:
            raise ValueError(
                f"vocab_size: expected the {clip_vocabulary.SIZE} tokens of CLIP's vocabulary, "
                f"came {self.vocab_size}; leave it out"
            )
        return self

    def build(self, captions: Iterable[str] = ()) -> Tokenizer:
        """The tokenizer; `captions` are read only where it is to be learnt from them.

        Raises:
            ValueError: what `Tokenizer.train`, `clip` or `load` refuses.
        """
        if self.path is None:
            return Tokenizer.train(
                captions, vocab_size=self.vocab_size, context_length=self.context_length
            )
        read = Tokenizer.clip if self.kind == "clip" else Tokenizer.load
        return read(self.path, context_length=self.context_length)
