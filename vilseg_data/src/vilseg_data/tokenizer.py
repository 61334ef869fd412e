"""Words to numbers: byte-level BPE with CLIP's vocabulary, or trained on a run's own captions."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch import Tensor

from vilseg_data import clip_vocabulary, tokenizer_file
from vilseg_data.files import write_atomically

Rules = Literal["clip", "trained", "foreign"]

PADDING, START, END = "<|padding|>", clip_vocabulary.START, clip_vocabulary.END
LEAST_VOCAB_SIZE = 3 + 256


class Tokenizer:
    """Captions to token ids, made by `train`, `clip` or `load`.

    A row is start_of_text, the tokens, end_of_text, then zeros. What does not fit is cut off
    before end_of_text, which always stays.

    The rules say what happens to a text first. "trained": lower case, runs of white space to one
    space; special tokens written in a caption are ordinary text. "clip": see `clip`. "foreign":
    the file's own normaliser. Under all, lone surrogates (not Unicode text) read as U+FFFD.
    """

    def __init__(
        self,
        encoder: tokenizers.Tokenizer,
        *,
        rules: Rules,
        context_length: int,
        start_of_text: int,
        end_of_text: int,
    ) -> None:
        _check_length(context_length)
        encoder.encode_special_tokens = rules != "foreign"
        encoder.no_truncation()
        encoder.no_padding()
        self._encoder = encoder
        self._size = 1 + max(encoder.get_vocab().values())
        self.rules: Rules = rules
        self.context_length = context_length
        self.start_of_text = start_of_text
        self.end_of_text = end_of_text

    @classmethod
    def train(
        cls, captions: Iterable[str], *, vocab_size: int = 4096, context_length: int = 32
    ) -> Self:
        """Learn a byte-level BPE from `captions`; the same captions give the same tokenizer.

        Ids: 0 is padding and never a token, 1 start_of_text, 2 end_of_text, then the 256 bytes,
        then merges of pairs seen at least twice. Few captions may give fewer than `vocab_size`.

        Raises:
            ValueError: no captions, a string in place of them, or sizes too small.
        """
        if isinstance(captions, str):
            raise ValueError("captions: expected strings, came one string; pass [caption]")
        if vocab_size < LEAST_VOCAB_SIZE:
            raise ValueError(
                f"vocab_size: expected at least {LEAST_VOCAB_SIZE} (3 special tokens and 256 "
                f"bytes), came {vocab_size}; raise it"
            )
        _check_length(context_length)
        texts = []
        for i, text in enumerate(captions):
            _check_string(text, name=f"captions[{i}]")
            texts.append(_plain(_unicode(text)))
        if not any(texts):
            raise ValueError(
                "captions: expected at least one that is not blank, came none; "
                "check that the source of captions is not empty"
            )
        encoder = tokenizers.Tokenizer(models.BPE())
        # With the space in front, a word is the same token at the start and inside a caption.
        encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            special_tokens=[PADDING, START, END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        encoder.train_from_iterator(texts, trainer)
        return cls(
            encoder, rules="trained", context_length=context_length, start_of_text=1, end_of_text=2
        )

    @classmethod
    def clip(cls, path: str | Path, *, context_length: int = 77) -> Self:
        """CLIP's tokenizer from its own file `bpe_simple_vocab_16e6.txt.gz`.

        The ids are those of CLIP's `SimpleTokenizer`: 49,408 tokens, HTML unescaped twice, white
        space cleaned, lower case, CLIP's split into words, `</w>` at the end of each. One step
        is left out: CLIP repairs wrongly decoded text with ftfy first, which vilseg does not
        depend on; run `ftfy.fix_text` on captions that need it. Id 0, the padding, is also "!".

        Raises:
            ValueError: the file is missing, or not CLIP's vocabulary.
        """
        encoder = clip_vocabulary.read(Path(path))
        return cls(
            encoder,
            rules="clip",
            context_length=context_length,
            start_of_text=clip_vocabulary.SPECIAL_IDS[START],
            end_of_text=clip_vocabulary.SPECIAL_IDS[END],
        )

    @property
    def vocab_size(self) -> int:
        """Number of ids; every id is below it."""
        return self._size

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Token ids of `texts`, int64 (n, context_length).

        Raises:
            ValueError: `texts` is one string, or holds something else than strings.
        """
        if isinstance(texts, str):
            raise ValueError("texts: expected a sequence of strings, came one string; pass [text]")
        rows = []
        for i, text in enumerate(texts):
            _check_string(text, name=f"texts[{i}]")
            tokens = self.encode(text)[: self.context_length - 2]
            row = [self.start_of_text, *tokens, self.end_of_text]
            rows.append(row + [0] * (self.context_length - len(row)))
        return torch.tensor(rows, dtype=torch.int64).view(len(rows), self.context_length)

    def normalise(self, text: str) -> str:
        """The text as the vocabulary sees it: cleaned and lower-cased by the rules."""
        clean: dict[Rules, Callable[[str], str]] = {
            "clip": clip_vocabulary.clean,
            "trained": _plain,
            "foreign": str,
        }
        return clean[self.rules](_unicode(text))

    def encode(self, text: str) -> list[int]:
        """The tokens of one text, uncut, without start, end and padding."""
        text = self.normalise(text)
        if self.rules == "clip":
            return clip_vocabulary.encode(self._encoder, text)
        return list(self._encoder.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """The text of one row of ids, or of bare tokens: up to end_of_text, without specials.

        With rules "trained", `decode(encode(text))` is `normalise(text)`; with "clip", words and
        punctuation come apart by spaces, as in CLIP's own.

        Raises:
            ValueError: an id is not in the vocabulary.
        """
        values = [int(i) for i in ids]
        values = values[1:] if values[:1] == [self.start_of_text] else values
        if self.end_of_text in values:
            values = values[: values.index(self.end_of_text)]
        tokens: list[str] = []
        for i in values:
            token = self._encoder.id_to_token(i) if 0 <= i < self.vocab_size else None
            if token is None:
                raise ValueError(
                    f"ids: {i} is not in the vocabulary of {self.vocab_size}; "
                    "these ids come from another tokenizer"
                )
            tokens.append(token)
        if self.rules == "foreign":
            return str(self._encoder.decode(values))
        if self.rules == "clip":
            return clip_vocabulary.decode(tokens)
        text = decoders.ByteLevel().decode([token for token in tokens if token != PADDING])
        return str(text).removeprefix(" ")

    def to_json(self) -> str:
        """Everything as one JSON document, for `from_json`."""
        return tokenizer_file.Document(
            rules=self.rules,
            context_length=self.context_length,
            start_of_text=self.start_of_text,
            end_of_text=self.end_of_text,
            tokenizer=json.loads(self._encoder.to_str()),
        ).model_dump_json()

    @classmethod
    def from_json(cls, text: str, *, context_length: int | None = None) -> Self:
        """A tokenizer from what `to_json` wrote, or from a `tokenizer.json` made elsewhere.

        The latter is a document of the `tokenizers` library whose start and end tokens are
        called <|startoftext|> and <|endoftext|>, <s> and </s>, [CLS] and [SEP], or <bos> and
        <eos>; its context length is 77 unless given.

        Args:
            text: the document.
            context_length: replaces the document's.

        Raises:
            ValueError: the document is damaged, of another kind, or has no such tokens.
        """
        document = tokenizer_file.parse(text)
        return cls(
            document.encoder(),
            rules=document.rules,
            context_length=document.context_length if context_length is None else context_length,
            start_of_text=document.start_of_text,
            end_of_text=document.end_of_text,
        )

    def save(self, path: str | Path) -> None:
        """Write `to_json` to `path`, whole or not at all; missing folders are made."""
        write_atomically({Path(path): self.to_json().encode()})

    @classmethod
    def load(cls, path: str | Path, *, context_length: int | None = None) -> Self:
        """Read the file at `path` as `from_json` does.

        Raises:
            ValueError: no file there, or `from_json` refuses it.
        """
        return cls.from_json(tokenizer_file.read(Path(path)), context_length=context_length)

    def __reduce__(self) -> tuple[Callable[[str], "Tokenizer"], tuple[str]]:
        return type(self).from_json, (self.to_json(),)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _check_string(text: object, *, name: str) -> None:
    if not isinstance(text, str):
        raise ValueError(
            f"{name}: expected a string, came {type(text).__name__}; convert or leave it out"
        )


def _check_length(context_length: int) -> None:
    if context_length < 3:
        raise ValueError(
            f"context_length: expected at least 3 (start, one token, end), came {context_length}; "
            "raise it"
        )
