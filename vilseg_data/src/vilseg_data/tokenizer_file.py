"""A tokenizer as one JSON document: ours, or a `tokenizer.json` made elsewhere."""

import json
from pathlib import Path
from typing import Any, Literal

import tokenizers
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

FOREIGN_SPECIALS = (
    ("<|startoftext|>", "<|endoftext|>"),
    ("<s>", "</s>"),
    ("[CLS]", "[SEP]"),
    ("<bos>", "<eos>"),
)
FOREIGN_CONTEXT = 77


class Document(BaseModel):
    """What is saved: the encoder of the `tokenizers` library and what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["vilseg-tokenizer"] = "vilseg-tokenizer"
    version: Literal[1] = 1
    rules: Literal["clip", "trained", "foreign"]
    context_length: int = Field(ge=3)
    start_of_text: int = Field(ge=0)
    end_of_text: int = Field(ge=0)
    tokenizer: dict[str, JsonValue]

    def encoder(self) -> tokenizers.Tokenizer:
        """The encoder inside.

        Raises:
            ValueError: the library cannot read it, or it lacks the start or end token.
        """
        encoder = _encoder(self.tokenizer)
        for name in ("start_of_text", "end_of_text"):
            if encoder.id_to_token(getattr(self, name)) is None:
                raise ValueError(
                    f"tokenizer: {name} is id {getattr(self, name)}, which the vocabulary does "
                    "not hold; the file is damaged, make it again"
                )
        return encoder


def parse(text: str) -> Document:
    """The document in `text`; one made elsewhere is taken by the names of its special tokens.

    Raises:
        ValueError: not JSON, neither form, or no start and end tokens of a known name.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"tokenizer: not JSON, or cut short ({error}); write it again with Tokenizer.save"
        ) from error
    if isinstance(content, dict) and "model" in content and "format" not in content:
        return _foreign(content)
    try:
        return Document.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise ValueError(
            f"tokenizer: not one of vilseg ({where}: {first['msg']}); expected a file of "
            "Tokenizer.save or a tokenizer.json of the tokenizers library"
        ) from error


def read(path: Path) -> str:
    """The text of the file at `path`.

    Raises:
        ValueError: there is no such file, or it is not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ValueError(
            f"path: no tokenizer file at {path}; expected a file of Tokenizer.save"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"path: {path} is not text, so no tokenizer; expected a file of Tokenizer.save"
        ) from error


def _encoder(content: dict[str, Any]) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # the library raises bare Exception
        raise ValueError(
            f"tokenizer: the tokenizers library {tokenizers.__version__} cannot read it "
            f"({error}); make the file again or with this version"
        ) from error


def _foreign(content: dict[str, Any]) -> Document:
    encoder = _encoder(content)
    for names in FOREIGN_SPECIALS:
        start, end = (encoder.token_to_id(name) for name in names)
        if start is not None and end is not None:
            return Document(
                rules="foreign",
                context_length=FOREIGN_CONTEXT,
                start_of_text=start,
                end_of_text=end,
                tokenizer=content,
            )
    known = ", ".join(f"{start} and {end}" for start, end in FOREIGN_SPECIALS)
    raise ValueError(
        "tokenizer: this tokenizer.json has no start and end tokens of a known name "
        f"({known}); add them as special tokens before saving it"
    )
