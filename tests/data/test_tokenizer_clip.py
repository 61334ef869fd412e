"""CLIP's vocabulary: ids against its algorithm written out, and against its file by hand."""

import gzip
import html
import json
import unicodedata
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vilseg_data import Tokenizer

# token/id, looked up in the vocabulary file; + marks a token that does not end its word.
LOOKED_UP = {
    "a photo of a cat": "a/320 photo/1125 of/539 a/320 cat/2368",
    "Hello world!": "hello/3306 world/1002 !/256",
    "It's  a DOG's ball.": "it/585 's/568 a/320 dog/1929 's/568 ball/1069 ./269",
    "two dogs, 3 people & 1 frisbee": (
        "two/1237 dogs/3255 ,/267 3/274 people/1047 &/261 1/272 frisbee/45768"
    ),
    "caf\u00e9 &amp;amp; bar": "caf\u00e9/15304 &/261 bar/2411",
    "\U0001f436 woof": "\U0001f436/10631 woof/24028",
    "black-and-white": "black/1449 -/268 and/537 -/268 white/1579",
    "A man in a red shirt climbs a rock wall .": (
        "a/320 man/786 in/530 a/320 red/736 shirt/2523 climbs/29098 a/320 rock/2172 wall/2569 ./269"
    ),
    "don't": "don/847 't/713",
    "1234": "1/272 2/273 3/274 4/275",
    "xylophonist": "xy+/20023 lo+/549 ph+/745 onist/10099",
    "\t a\u00a0dog\n": "a/320 dog/1929",
    "": "",
}


def ids_of(entry: str) -> list[int]:
    return [int(part.rsplit("/", 1)[1]) for part in entry.split()]


@pytest.fixture
def vocabulary_file(shared_data: Path) -> Path:
    return shared_data / "clip" / "bpe_simple_vocab_16e6.txt.gz"


@cache
def _clip(path: Path) -> Tokenizer:
    return Tokenizer.clip(path)


@pytest.fixture
def clip(vocabulary_file: Path) -> Tokenizer:
    return _clip(vocabulary_file)


class Oracle:
    """CLIP's published rules, slowly: bytes to characters, greedy merges of the lowest rank."""

    def __init__(self, path: Path) -> None:
        lines = gzip.decompress(path.read_bytes()).decode().split("\n")
        merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.symbols = self.byte_symbols()
        tokens = list(self.symbols.values())
        tokens += [token + "</w>" for token in tokens]
        tokens += ["".join(pair) for pair in merges]
        tokens += ["<|startoftext|>", "<|endoftext|>"]
        self.ids = {token: i for i, token in enumerate(tokens)}

    @staticmethod
    def byte_symbols() -> dict[int, str]:
        spans = [("!", "~"), ("\u00a1", "\u00ac"), ("\u00ae", "\u00ff")]
        table = {b: chr(b) for low, high in spans for b in range(ord(low), ord(high) + 1)}
        for byte in range(256):
            if byte not in table:
                table[byte] = chr(256 + len(table) - 188)
        return table

    def encode(self, text: str) -> list[int]:
        words = self.words(self.normalise(text))
        return [self.ids[part] for word in words for part in self.merge(word)]

    @staticmethod
    def normalise(text: str) -> str:
        return " ".join(html.unescape(html.unescape(text)).strip().split()).lower()

    @staticmethod
    def words(text: str) -> list[str]:
        def kind(character: str) -> str:
            category = unicodedata.category(character)[0]
            return " " if character.isspace() else category if category in "LN" else "other"

        words, rest = [], text
        suffixes = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
        while rest:
            whole = [
                s for s in ("<|startoftext|>", "<|endoftext|>", *suffixes) if rest.startswith(s)
            ]
            if whole:
                word = whole[0]
            elif kind(rest[0]) == "N":
                word = rest[0]
            else:
                length = next(
                    (i for i, c in enumerate(rest) if kind(c) != kind(rest[0])), len(rest)
                )
                word = rest[:length]
            rest = rest[len(word) :]
            if not word.isspace():
                words.append(word)
        return words

    def merge(self, word: str) -> list[str]:
        if word in ("<|startoftext|>", "<|endoftext|>"):
            return [word]
        parts = [self.symbols[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        while len(parts) > 1:
            rank, pair = min((self.ranks.get(pair, 10**9), pair) for pair in pairwise(parts))
            if rank == 10**9:
                break
            merged, i = [], 0
            while i < len(parts):
                if tuple(parts[i : i + 2]) == pair:
                    merged.append(parts[i] + parts[i + 1])
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            parts = merged
        return parts


@cache
def _oracle(path: Path) -> Oracle:
    return Oracle(path)


@pytest.fixture
def oracle(vocabulary_file: Path) -> Oracle:
    return _oracle(vocabulary_file)


@pytest.mark.parametrize("caption", LOOKED_UP)
def test_ids_are_those_looked_up(clip: Tokenizer, oracle: Oracle, caption: str) -> None:
    assert clip.encode(caption) == ids_of(LOOKED_UP[caption])
    assert oracle.encode(caption) == ids_of(LOOKED_UP[caption])


def test_what_was_looked_up_stands_in_the_file(vocabulary_file: Path) -> None:
    lines = gzip.decompress(vocabulary_file.read_bytes()).decode().split("\n")
    byte_of = {symbol: byte for byte, symbol in Oracle.byte_symbols().items()}
    for part in {part for entry in LOOKED_UP.values() for part in entry.split()}:
        token, number = part.rsplit("/", 1)
        # 256 bytes from "!", the same ending a word, then line n is id 511 + n.
        if int(number) < 512:
            assert int(number) == 256 * (not token.endswith("+")) + ord(token[0]) - ord("!")
        else:
            symbols = lines[int(number) - 511].replace(" ", "")
            text = bytes(byte_of[s] for s in symbols.removesuffix("</w>")).decode()
            assert token == text + ("" if symbols.endswith("</w>") else "+")


@pytest.mark.slow
def test_every_flickr_caption_has_the_ids_of_the_algorithm(
    clip: Tokenizer, oracle: Oracle, shared_data: Path
) -> None:
    merge, count = cache(oracle.merge), 0
    for path in sorted((shared_data / "flickr8k_128").glob("*.captions.json")):
        spoken = json.loads(path.read_text(encoding="utf-8"))
        for caption in (caption for five in spoken.values() for caption in five):
            ids = clip.encode(caption)
            words = oracle.words(oracle.normalise(caption))
            assert ids == [oracle.ids[part] for word in words for part in merge(word)], caption
            assert clip.encode(clip.decode(ids)) == ids, caption
            count += 1
    assert count == 40_455


@pytest.mark.parametrize(
    "text",
    [
        "<|endoftext|> after",
        "before<|STARTOFTEXT|>after",
        "!<|endoftext|>!",
        "a </w> w</w> <w>",
        "'re're'''s it's WE'LL",
        "&amp;lt;b&gt; &#39;tis",
        "\u65e5\u672c\u8a9e \ud55c\uad6d\uc5b4 \u00bd \u00b2\u00b3 \u2167",
        "\u01c5 \u0130 \u00df \u0391\u03a3",
        "a\u200bb\u2028c\u0085d\u00a0e",
        "\x00\x01 \U0001f469\u200d\U0001f469\u200d\U0001f467",
        "x" * 300,
    ],
)
def test_unusual_texts_have_the_ids_of_the_algorithm(
    clip: Tokenizer, oracle: Oracle, text: str
) -> None:
    assert clip.encode(text) == oracle.encode(text)


def test_any_latin_text_has_the_ids_of_the_algorithm(clip: Tokenizer, oracle: Oracle) -> None:
    # Up to U+024F every character has been assigned for long: no Unicode version matters.
    # Python counts U+001C to U+001F as white space, CLIP does not.
    alphabet = st.characters(max_codepoint=0x24F, exclude_characters="\x1c\x1d\x1e\x1f\u017f")

    @given(st.text(alphabet, max_size=30))
    def holds(text: str) -> None:
        assert clip.encode(text) == oracle.encode(text)

    holds()


def test_what_only_ignoring_case_explains(clip: Tokenizer) -> None:
    # "'s" with a long s is one word, so the apostrophe does not end one.
    assert clip.encode("it'\u017f")[:2] == [585, ord("'") - ord("!")]
    assert clip.encode("a\u0345b") == clip.encode("a b")


def test_control_characters_are_words(clip: Tokenizer) -> None:
    assert clip.encode("a\x1cb")[::2] == clip.encode("a b")
    assert len(clip.encode("a\x1cb")) == 3


def test_rows_are_start_tokens_end_zeros(clip: Tokenizer) -> None:
    assert clip.vocab_size == 49408
    assert (clip.start_of_text, clip.end_of_text, clip.context_length) == (49406, 49407, 77)
    rows = clip(["a photo of a cat", "", "dog " * 200])
    assert rows.shape == (3, 77)
    assert rows.dtype == torch.int64
    assert rows[0].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407] + [0] * 70
    assert rows[1].tolist() == [49406, 49407] + [0] * 75
    assert rows[2].tolist() == [49406] + [1929] * 75 + [49407]


def test_decoding_is_clips_own(clip: Tokenizer) -> None:
    assert clip.decode(clip(["A man's dog, caf\u00e9 \U0001f436!"])[0]) == (
        "a man 's dog , caf\u00e9 \U0001f436!"
    )
    assert clip.decode([0, 256]) == "!!"  # id 0 is a token too where no padding stands


def test_saved_and_loaded_it_is_the_same(clip: Tokenizer, tmp_path: Path) -> None:
    clip.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    texts = [*LOOKED_UP, "<|endoftext|> &amp; it'\u017f"]
    assert torch.equal(loaded(texts), clip(texts))
    assert loaded.rules == "clip"
    assert loaded.to_json() == clip.to_json()


def test_a_file_that_is_not_clips_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    with pytest.raises(ValueError, match=r"path: no file at .*expected CLIP's bpe_simple_vocab"):
        Tokenizer.clip(path)
    path.write_bytes(b"plain text")
    with pytest.raises(ValueError, match=r"is not CLIP's .*it does not unpack .*download it again"):
        Tokenizer.clip(path)
    path.write_bytes(gzip.compress(b"other words\n")[:-6])
    with pytest.raises(ValueError, match="it does not unpack"):
        Tokenizer.clip(path)
    path.write_bytes(gzip.compress(b"other words\n"))
    with pytest.raises(ValueError, match="its first line is 'other words'"):
        Tokenizer.clip(path)
    header = b'"bpe_simple_vocab_16e6.txt#version: 0.2\n'
    path.write_bytes(gzip.compress(header + b"i n\nt h\n"))
    with pytest.raises(ValueError, match="it holds 2 merges of 48894"):
        Tokenizer.clip(path)
    path.write_bytes(gzip.compress(header + b"in g\n" * 48894))
    with pytest.raises(ValueError, match="its merges do not build on one another"):
        Tokenizer.clip(path)
