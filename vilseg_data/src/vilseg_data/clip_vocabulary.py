"""CLIP's own rules for text: its vocabulary file, its clean-up, its words."""

import gzip
import html
import re
import zlib
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

START, END = "<|startoftext|>", "<|endoftext|>"
SIZE = 49408
SPECIAL_IDS = {START: SIZE - 2, END: SIZE - 1}
# 49,152 tokens less twice the 256 byte symbols; the file goes on, CLIP does not.
MERGES = 48894
HEADER = '"bpe_simple_vocab_16e6.txt#version'
# CLIP's pattern ignores case. On lower-cased text two characters feel it: the long s (U+017F)
# is an s, and the iota below (U+0345) is neither a letter nor anything else, so it is dropped.
PATTERN = (
    r"<\|[s\x{17f}]tartoftext\|>|<\|endoftext\|>|'[s\x{17f}]|'t|'re|'ve|'m|'ll|'d"
    r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}\x{345}]+"
)
# Unicode's white space, which CLIP cleans; Python's own class adds four control characters.
SPACE = re.compile(r"[^\S\x1c-\x1f]+")


def clean(text: str) -> str:
    """HTML unescaped twice, runs of white space to one space, lower case."""
    text = html.unescape(html.unescape(text)).strip()
    return SPACE.sub(" ", text).strip().lower()


def read(path: Path) -> Tokenizer:
    """The byte-pair encoder of `bpe_simple_vocab_16e6.txt.gz`, ids as in CLIP.

    Ids: 256 byte symbols, the same with `</w>`, 48,894 merges, start, end.

    Raises:
        ValueError: the file is missing, or not CLIP's vocabulary.
    """
    merges = _read_merges(path)
    symbols = _byte_symbols()
    tokens = [*symbols, *(s + "</w>" for s in symbols), *(a + b for a, b in merges), START, END]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    parts = {part for pair in merges for part in pair}
    if len(vocabulary) != SIZE or not parts <= vocabulary.keys():
        raise _refusal(path, "its merges do not build on one another")
    encoder = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
    encoder.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return encoder


def encode(encoder: Tokenizer, text: str) -> list[int]:
    """Ids of a cleaned text."""
    if "<|" not in text:
        return list(encoder.encode(text, add_special_tokens=False).ids)
    # CLIP reads special tokens written in a text, but only where its pattern finds them.
    ids: list[int] = []
    for piece, _ in encoder.pre_tokenizer.pre_tokenize_str(text):
        if piece in SPECIAL_IDS:
            ids.append(SPECIAL_IDS[piece])
        else:
            ids.extend(token.id for token in encoder.model.tokenize(piece))
    return ids


def decode(tokens: list[str]) -> str:
    """The text of tokens; words and punctuation come apart by spaces, as in CLIP's own."""
    # In the byte alphabet, the character of the space is Ġ.
    spaced = [t.removesuffix("</w>") + "Ġ" if t.endswith("</w>") else t for t in tokens]
    return str(decoders.ByteLevel().decode(spaced)).removesuffix(" ")


def _byte_symbols() -> list[str]:
    """CLIP's character for each byte, in the order of its ids: printable ones stand first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [*map(chr, printable), *(chr(0x100 + i) for i in range(0x100 - len(printable)))]


def _read_merges(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        raise ValueError(
            f"path: no file at {path}; expected CLIP's bpe_simple_vocab_16e6.txt.gz, "
            "which stands in the folder clip/ of github.com/openai/CLIP"
        )
    try:
        lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise _refusal(path, f"it does not unpack ({error})") from error
    if not lines[0].startswith(HEADER):
        raise _refusal(path, f"its first line is {lines[0][:40]!r}")
    pairs = [tuple(line.split()) for line in lines[1 : MERGES + 1]]
    merges = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]
    if len(merges) != MERGES:
        raise _refusal(path, f"it holds {len(merges)} merges of {MERGES}")
    return merges


def _refusal(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"path: {path} is not CLIP's bpe_simple_vocab_16e6.txt.gz: {reason}; download it again"
    )
