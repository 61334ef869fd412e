"""The trained tokenizer: round trips, rows, determinism, files, configuration."""

import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import models, pre_tokenizers, processors

from vilseg_data import Tokenizer, TokenizerConfig

CAPTIONS = [
    f"{who} {what} {where} ."
    for who in ("a dog", "two children", "The man in a red shirt", "a black-and-white cat")
    for what in ("runs", "is sitting", "jumps over it", "doesn't move")
    for where in ("on the grass", "near the caf\u00e9", "under 3 trees")
]
TRAINED = Tokenizer.train(CAPTIONS, vocab_size=345, context_length=32)
ROOMY = Tokenizer.train(CAPTIONS, vocab_size=345, context_length=600)


@given(st.text(max_size=100))
def test_any_text_comes_back_normalised(text: str) -> None:
    assert ROOMY.decode(ROOMY.encode(text)) == ROOMY.normalise(text)
    assert ROOMY.decode(ROOMY([text])[0]) == ROOMY.normalise(text)
    assert ROOMY.normalise(text) == " ".join(text.lower().split())


@given(st.lists(st.text(max_size=60), max_size=4))
def test_rows_are_start_tokens_end_zeros(texts: list[str]) -> None:
    rows = TRAINED(texts)
    assert rows.shape == (len(texts), 32)
    assert rows.dtype == torch.int64
    for text, row in zip(texts, rows.tolist(), strict=True):
        tokens = TRAINED.encode(text)[:30]
        assert row == [1, *tokens, 2] + [0] * (30 - len(tokens))
        assert all(2 < token < TRAINED.vocab_size for token in tokens)


def test_truncation_keeps_the_end() -> None:
    row = TRAINED(["dog " * 100])[0].tolist()
    assert row[0] == TRAINED.start_of_text
    assert row[-1] == TRAINED.end_of_text
    assert len(set(row[1:-1])) == 1


def test_special_tokens_in_a_caption_are_ordinary_text() -> None:
    text = "a <|endoftext|> <|padding|><|startoftext|>"
    assert not {0, 1, 2} & set(TRAINED.encode(text))
    assert TRAINED.decode(TRAINED.encode(text)) == text


def test_lone_surrogates_read_as_the_replacement_character() -> None:
    assert TRAINED.decode(TRAINED.encode("a \ud83d dog")) == "a \ufffd dog"
    assert TRAINED.encode("\ud83d\ude00") == TRAINED.encode("\U0001f600")
    assert Tokenizer.train(["a \ud83d dog"] * 2, vocab_size=300).vocab_size > 259


def test_a_word_is_one_token_wherever_it_stands() -> None:
    assert TRAINED.encode("dog") == TRAINED.encode("a dog")[1:]
    assert len(TRAINED.encode("dog")) == 1


def test_the_vocabulary_is_specials_bytes_merges() -> None:
    assert TRAINED.vocab_size == 345
    few = Tokenizer.train(["dog", "cat"], vocab_size=4096)
    assert few.vocab_size == 259  # nothing is seen twice
    assert (few.start_of_text, few.end_of_text) == (1, 2)
    assert len(few.encode("dog")) == 4


@pytest.mark.slow
def test_training_is_deterministic_in_any_order_and_process() -> None:
    again = CAPTIONS[:]
    random.Random(0).shuffle(again)
    assert Tokenizer.train(again, vocab_size=345, context_length=32).to_json() == TRAINED.to_json()
    script = (
        "import json, sys; from vilseg_data import Tokenizer; "
        "t = Tokenizer.train(json.load(sys.stdin), vocab_size=345, context_length=32); "
        "sys.stdout.write(t.to_json())"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(CAPTIONS),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        env=os.environ | {"PYTHONUTF8": "1"},
    )
    assert elsewhere.stdout == TRAINED.to_json()


def test_flickr_captions_come_back_and_are_short(shared_data: Path) -> None:
    text = (shared_data / "flickr8k_128" / "dev.captions.json").read_text(encoding="utf-8")
    captions = [caption for five in json.loads(text).values() for caption in five]
    tokenizer = Tokenizer.train(captions, vocab_size=2000, context_length=32)
    assert tokenizer.vocab_size == 2000
    rows = tokenizer(captions)
    whole = rows[:, -1] == 0
    assert float(whole.float().mean()) > 0.97
    for row, caption in list(zip(rows, captions, strict=True))[::25]:
        if int(row[-1]) == 0:
            assert tokenizer.decode(row) == tokenizer.normalise(caption)


def test_saved_pickled_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("older", encoding="utf-8")
    TRAINED.save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokenizer.json"]
    for other in (
        Tokenizer.load(path),
        Tokenizer.from_json(TRAINED.to_json()),
        pickle.loads(pickle.dumps(TRAINED)),
    ):
        assert torch.equal(other(CAPTIONS), TRAINED(CAPTIONS))
        assert other.context_length == 32
        assert other.to_json() == TRAINED.to_json()
        assert not {0, 1, 2} & set(other.encode("<|endoftext|>"))
    assert Tokenizer.load(path, context_length=9)(["a"]).shape == (1, 9)


def test_an_interrupted_save_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokenizer.json"
    TRAINED.save(path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        ROOMY.save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokenizer.json"]
    assert Tokenizer.load(path).context_length == 32


def test_files_that_are_no_tokenizer_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(ValueError, match=r"path: no tokenizer file at .*Tokenizer\.save"):
        Tokenizer.load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not text, so no tokenizer"):
        Tokenizer.load(path)
    whole = TRAINED.to_json()
    cuts = [whole[:cut] for cut in (0, 1, len(whole) // 2, len(whole) - 1)]
    for text in (*cuts, "[" * 100_000):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="tokenizer: not JSON, or cut short"):
            Tokenizer.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, r"not one of vilseg \(format: .*expected a file of Tokenizer.save"),
        ({"version": 2}, r"not one of vilseg \(version: Input should be 1"),
        ({"context_length": 1}, r"context_length: Input should be greater than or equal to 3"),
        ({"start_of_text": 10**6}, "start_of_text is id 1000000, which the vocabulary does not"),
        ({"tokenizer": {"model": {}}}, "the tokenizers library .* cannot read it"),
        ({"more": 1}, r"not one of vilseg \(more: "),
    ],
)
def test_damaged_documents_are_refused(change: dict[str, object], message: str) -> None:
    document = json.loads(TRAINED.to_json()) | change
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_json(json.dumps(document))


def test_json_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the tokenizers library .* cannot read it"):
        Tokenizer.from_json('{"model": 1, "added_tokens": [2]}')
    for text in ("[]", "3", '{"a": 1}'):
        with pytest.raises(ValueError, match="tokenizer: not one of vilseg"):
            Tokenizer.from_json(text)


def foreign(*specials: str) -> tokenizers.Tokenizer:
    words = {"dog": 0, "a": 1, "[UNK]": 2}
    encoder = tokenizers.Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    encoder.pre_tokenizer = pre_tokenizers.Whitespace()
    encoder.add_special_tokens(list(specials))
    encoder.enable_truncation(4)
    encoder.enable_padding(length=4)
    return encoder


@pytest.mark.parametrize(("start", "end"), [("<s>", "</s>"), ("[CLS]", "[SEP]")])
def test_a_tokenizer_made_elsewhere_is_used_as_it_is(start: str, end: str, tmp_path: Path) -> None:
    encoder = foreign(start, end)
    encoder.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, 3), (end, 4)]
    )
    encoder.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path / "tokenizer.json", context_length=8)
    assert tokenizer(["a dog a Dog a"]).tolist() == [[3, 1, 0, 1, 2, 1, 4, 0]]
    assert tokenizer.vocab_size == 5
    assert tokenizer.decode([3, 1, 0, 4, 0]) == "a dog"
    again = Tokenizer.from_json(tokenizer.to_json())
    assert torch.equal(again(["a dog"]), tokenizer(["a dog"]))
    assert Tokenizer.from_json(encoder.to_str()).context_length == 77


def test_a_tokenizer_without_start_and_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has no start and end tokens of a known name \(<\|start"):
        Tokenizer.from_json(foreign("<|endoftext|>").to_str())


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"texts: expected a sequence of strings.*pass \[text\]"):
        TRAINED("a dog")
    with pytest.raises(ValueError, match=r"texts\[1\]: expected a string, came int"):
        TRAINED(["a", 3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"ids: 345 is not in the vocabulary of 345; these ids"):
        TRAINED.decode([345])
    with pytest.raises(ValueError, match="ids: -1 is not in the vocabulary"):
        TRAINED.decode([-1])
    with pytest.raises(ValueError, match=r"captions: expected strings, came one string"):
        Tokenizer.train("a dog")
    with pytest.raises(ValueError, match=r"captions\[1\]: expected a string, came NoneType"):
        Tokenizer.train(["a", None])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"captions: expected at least one that is not blank"):
        Tokenizer.train([" ", ""])
    with pytest.raises(ValueError, match=r"vocab_size: expected at least 259 .* came 100"):
        Tokenizer.train(CAPTIONS, vocab_size=100)
    with pytest.raises(ValueError, match=r"context_length: expected at least 3 .* came 2"):
        Tokenizer.train(CAPTIONS, context_length=2)


def test_the_configuration_builds_what_it_says(tmp_path: Path) -> None:
    config = TokenizerConfig(vocab_size=345, context_length=32)
    assert config.build(CAPTIONS).to_json() == TRAINED.to_json()
    ROOMY.save(tmp_path / "tokenizer.json")
    saved = TokenizerConfig(path=tmp_path / "tokenizer.json", context_length=12).build()
    assert saved(["a dog"]).shape == (1, 12)
    with pytest.raises(ValueError, match="captions: expected at least one"):
        config.build()


def test_the_configuration_of_clip(shared_data: Path) -> None:
    path = shared_data / "clip" / "bpe_simple_vocab_16e6.txt.gz"
    config = TokenizerConfig(kind="clip", path=path)
    assert (config.vocab_size, config.context_length) == (49408, 77)
    assert config.build()(["a"]).shape == (1, 77)
    assert TokenizerConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "clip"}, "path: expected CLIP's bpe_simple_vocab_16e6"),
        (
            {"kind": "clip", "path": "x", "vocab_size": 500},
            "expected the 49408 tokens of CLIP's vocabulary, came 500; leave it out",
        ),
        ({"vocab_size": 10}, "greater than or equal to 259"),
        ({"vocabulary": 10}, "Extra inputs are not permitted"),
    ],
)
def test_bad_configurations_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TokenizerConfig.model_validate(options)
