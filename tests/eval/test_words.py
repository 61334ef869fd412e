"""Word lists as written by people, synonyms, and what a word with several names is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from vilseg_core.models import ViLSeg
from vilseg_data import Tokenizer
from vilseg_eval import PatchSegmenter, Prompts
from vilseg_eval.prompts import TEMPLATE_SETS, Vocabulary, WordBank, template_set
from vilseg_eval.words import parse_words

WORD = st.text(alphabet="abc é狗-", min_size=1, max_size=6).map(lambda t: " ".join(t.split()))
ENTRIES = st.lists(st.tuples(WORD, st.lists(WORD.filter(bool), max_size=3)), min_size=2, max_size=4)


@given(entries=ENTRIES)
@settings(max_examples=30)
def test_what_was_written_is_read_on_one_line_and_on_several(
    entries: list[tuple[str, list[str]]],
) -> None:
    entries = [(word or "x", names) for word, names in entries]
    written = [word + (": " + ", ".join(names) if names else "") for word, names in entries]
    expected = {word: tuple(names) for word, names in entries if names}
    for text in ("\n".join(["# a comment", "", *written]), "; ".join(written)):
        found = parse_words(text)
        assert found.words == tuple(word for word, _ in entries)
        assert found.synonyms == expected


def test_commas_are_enough_without_synonyms() -> None:
    assert parse_words("dog,  red car ,grass") == (("dog", "red car", "grass"), {})
    assert parse_words("person: man, woman") == (("person",), {"person": ("man", "woman")})
    assert parse_words("  ") == ((), {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dog, person: man, woman", "expected semicolons between words where one has synonyms"),
        ("dog: ", "expected synonyms after the colon, came 'dog:'"),
        ("dog: puppy,, hound", "expected synonyms after the colon"),
        ("dog, cat\nperson", "expected one word a line"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_words(text)


def test_the_mean_over_synonyms_is_one_row_a_word(model: ViLSeg, tokenizer: Tokenizer) -> None:
    synonyms = {"person": ["sheep", "red car"]}
    templates = ("a {}", "{} on grass")
    rows = Prompts(["dog", "person"], synonyms=synonyms, templates=templates).embed(
        model, tokenizer
    )
    single = {
        word: Prompts([word], templates=templates).embed(model, tokenizer)[0]
        for word in ("dog", "person", "sheep", "red car")
    }
    torch.testing.assert_close(rows[0], single["dog"])
    mean = normalize(single["person"] + single["sheep"] + single["red car"], dim=0)
    torch.testing.assert_close(rows[1], mean)


def test_the_maximum_over_synonyms_is_the_nearest_name(model: ViLSeg, tokenizer: Tokenizer) -> None:
    names = {"person": ("sheep", "red car"), "dog": ("grass",)}
    vocabulary = Vocabulary(model, tokenizer)
    bank = vocabulary.bank(Prompts(["person", "dog", "a"], synonyms=names, combine="max"))
    features = torch.randn(7, 16, generator=torch.Generator().manual_seed(0))
    scores = bank.scores(features)
    assert scores.shape == (7, 3)
    for column, words in enumerate((("person", *names["person"]), ("dog", *names["dog"]), ("a",))):
        each = features @ vocabulary.bank(Prompts(words)).rows.T
        torch.testing.assert_close(scores[:, column], each.amax(1))
    segmenter = PatchSegmenter(model, tokenizer, ["person", "dog"], synonyms=names, combine="max")
    assert segmenter.words == ("person", "dog")
    assert segmenter.settings["synonyms"] == names


@given(owners=st.lists(st.integers(1, 3), min_size=1, max_size=5), rows=st.integers(0, 4))
@settings(max_examples=20)
def test_scores_of_a_bank_are_the_loop(owners: list[int], rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    index = [word for word, count in enumerate(owners) for _ in range(count)]
    vectors = torch.randn(len(index), 4, generator=generator)
    features = torch.randn(rows, 4, generator=generator)
    bank = WordBank(tuple(map(str, range(len(owners)))), vectors, torch.tensor(index))
    found = bank.scores(features)
    for row in range(rows):
        for word in range(len(owners)):
            mine = [float(features[row] @ vectors[p]) for p, w in enumerate(index) if w == word]
            assert float(found[row, word]) == pytest.approx(max(mine), abs=1e-5)


def test_what_was_embedded_once_is_not_embedded_again(
    model: ViLSeg, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    encode = model.encode_text

    def counting(tokens: torch.Tensor) -> torch.Tensor:
        seen.append(len(tokens))
        return encode(tokens)

    monkeypatch.setattr(model, "encode_text", counting)
    store: dict[str, torch.Tensor] = {}
    vocabulary = Vocabulary(model, tokenizer, store=store)
    first = vocabulary.bank(Prompts(["dog", "grass"]))
    mixed = vocabulary.bank(Prompts(["sheep", "dog"]))
    assert seen == [2, 1]
    assert torch.equal(mixed.rows[1], first.rows[0])
    again = Vocabulary(model, tokenizer, store=store).bank(Prompts(["grass", "sheep"]))
    assert seen == [2, 1]
    assert torch.equal(again.rows[0], first.rows[1])
    vocabulary.bank(Prompts(["dog"], templates=["the {}"]))
    assert seen == [2, 1, 1]


def test_synonyms_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ValueError, match=r"synonyms: \['cat'\] are not among the words"):
        Prompts(["dog"], synonyms={"cat": ["kitten"]})
    with pytest.raises(ValueError, match=r"got \['dog'\] more than once"):
        Prompts(["dog", "animal"], synonyms={"animal": ["Dog"]})
    with pytest.raises(ValueError, match="combine: expected mean or max, came 'sum'"):
        Prompts(["dog"], combine="sum")  # type: ignore[arg-type]


def test_template_sets_are_there_by_name_and_from_a_file(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    sets = {name: template_set(name) for name in TEMPLATE_SETS}
    assert {name: len(found) for name, found in sets.items()} == {
        "single": 1, "vilseg": 1, "simple": 1, "clip80": 80, "sub7": 7, "maskclip85": 85,
    }  # fmt: skip
    assert set(sets["sub7"]) <= set(sets["clip80"]) < set(sets["maskclip85"])
    for found in sets.values():
        assert len(set(found)) == len(found)
        assert Prompts(["dog"], templates=found).templates == found
    file = tmp_path_factory.mktemp("own") / "mine.txt"
    file.write_text("# mine\nwe see a {}\n\nthe {} again\n")
    assert template_set(str(file)) == ("we see a {}", "the {} again")
    file.write_text("no word")
    with pytest.raises(ValueError, match=r"expected one \{\} for the word in each, got 'no word'"):
        template_set(str(file))
    with pytest.raises(ValueError, match=r"templates: expected one of single.*came 'clip81'"):
        template_set("clip81")
